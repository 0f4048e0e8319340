"""Malformed HTTP and request smuggling: refused with the right status, connection closed, never forwarded.

Each case is raw bytes. A well-formed request to /smuggled follows every case in the same packet: whoever
takes it for a request of its own has been smuggled to, and the canary application would have noted it.
Sources: RFC 9112 sections 2.2, 3, 5, 6, 7, 11.2; RFC 9110 sections 5.5, 15.5.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from conftest import Running
from rawhttp import Truncated, request_bytes

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, start: bytes = b"POST /bad HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: a", *lines]) + b"\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + body


@dataclass
class Case:
    """One malformed request. `streams`: its head is valid, so the application may start (never finish) it."""

    raw: bytes
    statuses: tuple[int, ...] = (400,)
    streams: bool = False


CASES = {
    # Framing of the body: which of two readings is right (RFC 9112 6.3, 11.2).
    "CL and TE": Case(head(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "TE and CL": Case(head(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n"),
    "CL and TE on a GET": Case(
        head(b"Content-Length: 4", b"Transfer-Encoding: chunked", start=b"GET /bad HTTP/1.1") + b"0\r\n\r\n"
    ),
    "two different CLs": Case(head(b"Content-Length: 4", b"Content-Length: 5") + b"abcde"),
    "CL list that differs": Case(head(b"Content-Length: 4, 5") + b"abcde"),
    "CL with plus": Case(head(b"Content-Length: +5") + b"abcde"),
    "CL with minus": Case(head(b"Content-Length: -5") + b"abcde"),
    "CL hexadecimal": Case(head(b"Content-Length: 0x5") + b"abcde"),
    "CL with fraction": Case(head(b"Content-Length: 5.0") + b"abcde"),
    "CL with underscore": Case(head(b"Content-Length: 1_0") + b"abcdeabcde"),
    "CL with inner space": Case(head(b"Content-Length: 5 5") + b"abcde"),
    "CL empty": Case(head(b"Content-Length:") + b"abcde"),
    "CL a word": Case(head(b"Content-Length: five") + b"abcde"),
    "CL non-ASCII digit": Case(head(b"Content-Length: \xd9\xa5") + b"abcde"),
    "CL beyond 64 bits": Case(head(b"Content-Length: 18446744073709551617") + b"a", (400, 413)),
    "CL of 5000 digits": Case(head(b"Content-Length: " + b"9" * 5000) + b"a", (400, 413)),
    "TE unknown": Case(head(b"Transfer-Encoding: gzip") + b"0\r\n\r\n", (400, 501)),
    "TE chunked not last": Case(head(b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n", (400, 501)),
    "TE chunked twice": Case(head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n", (400, 501)),
    "TE twice": Case(
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n", (400, 501)
    ),
    "TE xchunked": Case(head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n", (400, 501)),
    "TE quoted": Case(head(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n", (400, 501)),
    "TE with vertical tab": Case(head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n", (400, 501)),
    "TE empty": Case(head(b"Transfer-Encoding:") + b"0\r\n\r\n", (400, 501)),
    "TE on HTTP/1.0": Case(head(b"Transfer-Encoding: chunked", start=b"POST /bad HTTP/1.0") + b"0\r\n\r\n"),
    # Field lines (RFC 9112 5, 2.2).
    "obs-fold": Case(head(b"X-A: one\r\n two")),
    "obs-fold with tab": Case(head(b"X-A: one\r\n\ttwo")),
    "obs-fold of TE": Case(head(b"Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n"),
    "space before the first field": Case(b"POST /bad HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"),
    "space before colon": Case(head(b"X-A : one")),
    "space before colon of CL": Case(head(b"Content-Length : 5") + b"abcde"),
    "tab before colon of TE": Case(head(b"Transfer-Encoding\t: chunked") + b"0\r\n\r\n"),
    "no colon": Case(head(b"X-A one")),
    "empty name": Case(head(b": one")),
    "name not a token": Case(head(b"X(A): one")),
    "name not ASCII": Case(head(b"X-\xe9: one")),
    "NUL in a value": Case(head(b"X-A: o\0ne")),
    "NUL in a name": Case(head(b"X\0A: one")),
    "NUL in the target": Case(head(start=b"GET /bad\0 HTTP/1.1")),
    "bare CR in a value": Case(head(b"X-A: one\rTransfer-Encoding: chunked")),
    "bare CR in the request line": Case(head(start=b"GET /bad HTTP/1.1\rX: y")),
    "bare LF after the request line": Case(b"GET /bad HTTP/1.1\nHost: a\r\n\r\n"),
    "bare LF after a field": Case(b"GET /bad HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    "bare LF at the end of the head": Case(b"GET /bad HTTP/1.1\r\nHost: a\r\n\n"),
    "bare LF everywhere": Case(b"GET /bad HTTP/1.1\nHost: a\n\n"),
    "control character in a value": Case(head(b"X-A: o\x01ne")),
    # Request line (RFC 9112 3).
    "no Host on 1.1": Case(b"GET /bad HTTP/1.1\r\nX-A: b\r\n\r\n"),
    "two Hosts": Case(b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two equal Hosts": Case(b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "Host with a path": Case(b"GET /bad HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "Host with a space": Case(b"GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "HTTP/2.0": Case(head(start=b"GET /bad HTTP/2.0"), (505,)),
    "HTTP/3.0": Case(head(start=b"GET /bad HTTP/3.0"), (505,)),
    "HTTP/9.9": Case(head(start=b"GET /bad HTTP/9.9"), (505,)),
    "HTTP/1.10": Case(head(start=b"GET /bad HTTP/1.10"), (400, 505)),
    "HTTP/01.1": Case(head(start=b"GET /bad HTTP/01.1"), (400, 505)),
    "http/1.1 in lower case": Case(head(start=b"GET /bad http/1.1"), (400, 505)),
    "another protocol": Case(head(start=b"GET /bad RTSP/1.0"), (400, 505)),
    "HTTP/0.9": Case(b"GET /bad\r\n\r\n", (400, 505)),
    "HTTP/2 preface": Case(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "two spaces": Case(head(start=b"GET  /bad HTTP/1.1")),
    "tab for a space": Case(head(start=b"GET\t/bad HTTP/1.1")),
    "space in the target": Case(head(start=b"GET /ba d HTTP/1.1")),
    "no target": Case(head(start=b"GET HTTP/1.1")),
    "target without slash": Case(head(start=b"GET bad HTTP/1.1")),
    "target with a control character": Case(head(start=b"GET /b\x01ad HTTP/1.1")),
    "method not a token": Case(head(start=b"G(T /bad HTTP/1.1")),
    "method empty": Case(head(start=b" /bad HTTP/1.1")),
    "absurd method": Case(head(start=b"A" * 9000 + b" /bad HTTP/1.1"), (400, 414, 431, 501)),
    "binary": Case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 64 + b"\r\n\r\n"),
    "only line ends": Case(b"\r\n" * 200 + b"\0\r\n\r\n"),
    # Limits.
    "request line too long": Case(head(start=b"GET /bad?" + b"q" * 100_000 + b" HTTP/1.1"), (414,)),
    "too many fields": Case(head(*[b"X-%d: y" % number for number in range(5000)]), (431,)),
    "field too big": Case(head(b"X-Big: " + b"y" * 200_000), (431,)),
    "head too big": Case(head(*[b"X-%d: " % number + b"y" * 8000 for number in range(20)]), (431,)),
    # Chunked body (RFC 9112 7.1).
    "chunk size 0x5": Case(chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size negative": Case(chunked(b"-5\r\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size with plus": Case(chunked(b"+5\r\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size with underscore": Case(chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), streams=True),
    "chunk size empty": Case(chunked(b"\r\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size a word": Case(chunked(b"five\r\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size of 17 digits": Case(
        chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), (400, 413), streams=True
    ),
    "chunk size of 17 digits, high": Case(
        chunked(b"F0000000000000005\r\nhello\r\n0\r\n\r\n"), (400, 413), streams=True
    ),
    "chunk size with leading space": Case(chunked(b" 5\r\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size ended by bare LF": Case(chunked(b"5\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk size ended by bare CR": Case(chunked(b"5\rhello\r\n0\r\n\r\n"), streams=True),
    "chunk extension with bare LF": Case(chunked(b"5;a=b\nhello\r\n0\r\n\r\n"), streams=True),
    "chunk data without CRLF": Case(chunked(b"5\r\nhello0\r\n\r\n"), streams=True),
    "chunk data longer than its size": Case(chunked(b"5\r\nhelloworld\r\n0\r\n\r\n"), streams=True),
    "chunk data ended by bare LF": Case(chunked(b"5\r\nhello\n0\r\n\r\n"), streams=True),
    "chunk extension without end": Case(
        chunked(b"5;" + b"e" * 100_000 + b"\r\nhello\r\n0\r\n\r\n"), (400, 413, 431), streams=True
    ),
    "chunk trailer not a field": Case(chunked(b"5\r\nhello\r\n0\r\nno colon here\r\n\r\n"), streams=True),
    "chunk trailer without end": Case(
        chunked(b"5\r\nhello\r\n0\r\n" + b"X-T: y\r\n" * 20_000 + b"\r\n"), (400, 413, 431), streams=True
    ),
}


@pytest.fixture
def canary(shared, either: tuple[str, str]) -> Running:
    interface, mode = either
    return shared(f"canary:{interface}", interface=interface, mode=mode)


def new_events(server: Running, count: int) -> list[str]:
    """Events since `count`, once a request of our own has been through: one worker works in order."""
    fence = f"/fence-{time.monotonic_ns()}"
    assert server.fetch(fence).status == 200
    server.wait_for_event(f"body 0 {fence}")
    return [line for line in server.events()[count:] if "/fence-" not in line]


@pytest.mark.parametrize("case", list(CASES))
def test_refused(canary: Running, case: str) -> None:
    expected, count = CASES[case], len(canary.events())
    with canary.connect(timeout=5) as connection:
        connection.send_tolerant(expected.raw + SMUGGLED)
        try:
            response = connection.read_response()
        except Truncated as error:
            pytest.fail(f"closed without an answer: {error}")
        status = response.status
        closed = connection.is_closed() if not connection.buffer else False
    events = new_events(canary, count)
    assert not [line for line in events if "/smuggled" in line], (
        "the following bytes were taken for a request"
    )
    assert not [line for line in events if line.startswith("body")], (
        "the application took it for a whole request"
    )
    assert expected.streams or not events, "the application was called"
    assert status in expected.statuses
    assert closed, "the connection must not be used again"


@pytest.mark.parametrize(
    "framing", [[("Content-Length", "5"), ("Content-Length", "5")], [("Content-Length", "5, 5")]]
)
def test_equal_content_lengths_are_one_or_refused(canary: Running, framing: list[tuple[str, str]]) -> None:
    """RFC 9110 8.6 allows either."""
    with canary.connect() as connection:
        connection.send(request_bytes("POST", "/equal", framing, b"hello"))
        assert connection.read_response().status in (200, 400)


def test_body_cut_short_never_looks_whole(canary: Running) -> None:
    count = len(canary.events())
    for headers, part in (
        ({"Content-Length": "50"}, b"short"),
        ({"Transfer-Encoding": "chunked"}, b"5\r\nshort\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"ff\r\nshort"),
    ):
        with canary.connect() as connection:
            connection.send(request_bytes("POST", "/cut", headers) + part)
    events = new_events(canary, count)
    assert not [line for line in events if line.startswith("body")], events


def test_good_requests_still_work_afterwards(canary: Running) -> None:
    assert canary.fetch("/good", "POST", body=b"hello").body == b"ok"


@pytest.mark.parametrize(
    "part", [b"", b"GET /slow HTTP/1.1\r\nHost: a\r\nX-A: "], ids=["nothing", "half a head"]
)
def test_slow_head_is_408_or_closed(launch, server_name: str, part: bytes) -> None:
    """A head that does not come in time is 408; one that never sent a byte is just closed."""
    interface = "asgi" if server_name == "uvicorn" else "wsgi"
    server = launch(f"canary:{interface}", interface=interface, header_timeout=1)
    with server.connect(timeout=8) as connection:
        connection.send(part)
        try:
            assert connection.read_response().status == 408
        except Truncated as error:
            assert not part, f"half a head must be answered: {error}"
        assert connection.is_closed()
    assert server.events() == []


def test_head_that_drips_is_408(launch, server_name: str) -> None:
    """The deadline is for the whole head: a byte now and then must not extend it."""
    interface = "asgi" if server_name == "uvicorn" else "wsgi"
    server = launch(f"canary:{interface}", interface=interface, header_timeout=1)
    started = time.monotonic()
    with server.connect(timeout=0.2) as connection:
        connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n")
        response = None
        while response is None and time.monotonic() - started < 6:
            connection.send_tolerant(b"X-A: b\r\n")
            try:
                response = connection.read_response()
            except TimeoutError:
                continue
    assert response is not None and response.status == 408
    assert time.monotonic() - started < 4


def test_slow_body_is_408(launch, server_name: str) -> None:
    interface = "asgi" if server_name == "uvicorn" else "wsgi"
    server = launch(f"canary:{interface}", interface=interface, body_timeout=1)
    with server.connect(timeout=8) as connection:
        connection.send(request_bytes("POST", "/slow", {"Content-Length": "50"}) + b"short")
        assert connection.read_response().status == 408
        assert connection.is_closed()
    assert not [line for line in server.events() if line.startswith("body")]


@pytest.mark.parametrize("expect", [False, True])
def test_declared_oversize_is_413_at_once(launch, server_name: str, expect: bool) -> None:
    interface = "asgi" if server_name == "uvicorn" else "wsgi"
    server = launch(f"canary:{interface}", interface=interface, max_body=65536)
    headers = {"Content-Length": "65537", **({"Expect": "100-continue"} if expect else {})}
    with server.connect() as connection:
        connection.send(request_bytes("POST", "/big", headers))
        response = connection.read_response()
        assert response.status == 413 and response.interim == []
        assert connection.is_closed()
    assert server.events() == []
    assert server.fetch("/fits", "POST", body=b"x" * 65536).status == 200


def test_chunked_oversize_is_413_without_reading_it_all(launch, server_name: str) -> None:
    interface = "asgi" if server_name == "uvicorn" else "wsgi"
    server = launch(f"canary:{interface}", interface=interface, max_body=65536)
    sent = 0
    with server.connect() as connection:
        connection.send(request_bytes("POST", "/big", {"Transfer-Encoding": "chunked"}))
        try:
            while sent < 100 * 1024 * 1024:
                connection.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
                sent += 0x8000
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        assert sent < 32 * 1024 * 1024, "the server went on reading"
    with server.connect() as connection:
        connection.send(
            request_bytes("POST", "/big", {"Transfer-Encoding": "chunked"}, b"10001\r\n" + b"x" * 0x10001)
        )
        assert connection.read_response().status == 413
    assert not [line for line in server.events() if line.startswith("body")]
