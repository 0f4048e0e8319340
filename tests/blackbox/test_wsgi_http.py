"""How HTTP/1 carries what a WSGI application says: framing, keep-alive, pipelining, Expect, Date.

The raw client parses strictly, so every test here also checks that the response is well formed.
"""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
from conftest import Running
from rawhttp import ProtocolError, request_bytes

pytestmark = pytest.mark.wsgi


@pytest.mark.parametrize("shape", ["list1", "tuple1"])
def test_one_known_part_gets_a_content_length(wsgi: Running, shape: str) -> None:
    response = wsgi.fetch(f"/shapes?as={shape}")
    assert response.get("Content-Length") == "5" and response.body == b"hello"


@pytest.mark.parametrize("shape", ["list2", "generator", "empties"])
def test_unknown_length_is_chunked_on_1_1(wsgi: Running, shape: str) -> None:
    """Several parts in a list have a known length too: a server may count them."""
    response = wsgi.fetch(f"/shapes?as={shape}")
    assert response.body == b"hello"
    if shape != "list2":
        assert response.chunks == [b"hel", b"lo"]


@pytest.mark.parametrize("shape", ["generator", "empties"])
def test_unknown_length_ends_with_the_connection_on_1_0(wsgi: Running, shape: str) -> None:
    with wsgi.connect() as connection:
        connection.send(
            request_bytes("GET", f"/shapes?as={shape}", {"Connection": "keep-alive"}, version="1.0")
        )
        response = connection.read_response()
        assert response.body == b"hello" and response.chunks is None
        assert not response.keeps_alive and connection.is_closed()


def test_empty_list_is_an_empty_body(wsgi: Running) -> None:
    assert wsgi.fetch("/shapes?as=empty").body == b""


def keeps_in_step(server: Running, request: bytes, method: str = "GET") -> object:
    """Send `request`, then another on the same connection unless it closes: the stream must stay in step."""
    with server.connect() as connection:
        response = connection.send(request).read_response(method)
        if response.keeps_alive:
            following = connection.send(
                request_bytes("GET", "/status?line=299%20Next&body=next")
            ).read_response()
            assert (following.status, following.body) == (299, b"next")
        else:
            assert connection.is_closed()
        return response


@pytest.mark.parametrize("line", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("extra", ["", "&body=forbidden", "&body=forbidden&length=9", "&length=0"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_bodiless_status_has_no_body(wsgi: Running, line: str, extra: str, method: str) -> None:
    response = keeps_in_step(wsgi, request_bytes(method, f"/status?line={quote(line)}{extra}"), method)
    assert response.status == int(line[:3]) and response.body == b""


@pytest.mark.parametrize(
    "target",
    [
        "/shapes?as=list1",
        "/shapes?as=generator",
        "/status?line=200%20OK&body=abc",
        "/status?line=404%20No&body=abc&length=3",
        "/write",
    ],
)
def test_head_has_no_body(wsgi: Running, target: str) -> None:
    response = keeps_in_step(wsgi, request_bytes("HEAD", target), "HEAD")
    assert response.body == b"" and response.status in (200, 404)


def test_head_keeps_the_content_length_of_the_application(wsgi: Running) -> None:
    response = wsgi.fetch("/status?line=200%20OK&length=12345", "HEAD")
    assert response.get("Content-Length") == "12345"


def test_content_length_of_the_application_is_kept(wsgi: Running) -> None:
    response = wsgi.fetch("/status?line=200%20OK&body=abc&length=3")
    assert response.get("Content-Length") == "3" and response.chunks is None and response.body == b"abc"


def test_status_and_reason_are_kept(wsgi: Running) -> None:
    response = wsgi.fetch("/status?line=" + quote("418 I'm a teapot") + "&body=x")
    assert (response.status, response.reason) == (418, "I'm a teapot")


def test_repeated_response_headers_stay_apart(wsgi: Running) -> None:
    response = wsgi.fetch("/cookies")
    assert response.get_all("Set-Cookie") == ["a=1", "b=2"]


def test_latin1_response_header(wsgi: Running) -> None:
    assert wsgi.fetch("/cookies").get("X-Latin") == "caf\xe9"


def test_date_and_server(wsgi: Running) -> None:
    response = wsgi.fetch("/pid")
    date = response.get("Date")
    assert re.fullmatch(r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT", date)
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 5
    assert response.get("Server")


def test_date_and_server_of_the_application_win(wsgi: Running) -> None:
    response = wsgi.fetch("/own-date")
    assert response.get("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert response.get("Server") == "mine"


def test_keep_alive_on_1_1(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        for _ in range(5):
            response = connection.send(request_bytes("GET", "/pid")).read_response()
            assert response.status == 200 and response.keeps_alive


def test_connection_close_on_1_1(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        response = connection.send(request_bytes("GET", "/pid", {"Connection": "close"})).read_response()
        assert response.get("Connection", "").lower() == "close" and connection.is_closed()


def test_1_0_closes_unless_asked(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        response = connection.send(request_bytes("GET", "/pid", version="1.0")).read_response()
        assert response.status == 200 and connection.is_closed()


def test_keep_alive_on_1_0_when_asked(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        for _ in range(3):
            connection.send(request_bytes("GET", "/pid", {"Connection": "Keep-Alive"}, version="1.0"))
            response = connection.read_response()
            assert response.status == 200 and response.get("Connection", "").lower() == "keep-alive"


def test_pipelined_requests_are_answered_in_order(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        connection.send(b"".join(request_bytes("GET", f"/status?line=200%20OK&body=n{n}") for n in range(20)))
        assert [connection.read_response().body for _ in range(20)] == [b"n%d" % n for n in range(20)]


def test_pipelined_request_behind_a_body_nobody_read(wsgi: Running) -> None:
    """The unread body must not be taken for the next request."""
    with wsgi.connect() as connection:
        body = request_bytes("GET", "/status?line=299%20Smuggled")
        connection.send(request_bytes("POST", "/not-reading", body=body) + request_bytes("GET", "/pid"))
        assert json.loads(connection.read_response().body) == "body ignored"
        assert connection.read_response().status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_big_body_nobody_read(wsgi: Running, framing: str) -> None:
    """After the answer the server drains or closes; what it says must be true."""
    body = b"x" * 300_000
    headers = {}
    if framing == "chunked":
        headers, body = {"Transfer-Encoding": "chunked"}, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with wsgi.connect() as connection:
        connection.send_tolerant(request_bytes("POST", "/not-reading", headers, body))
        response = connection.read_response()
        assert json.loads(response.body) == "body ignored"
        if response.keeps_alive:
            assert connection.send(request_bytes("GET", "/pid")).read_response().status == 200


def test_connection_header_of_the_application_is_no_lie(wsgi: Running) -> None:
    """PEP 3333 calls it a fatal error (500); we are kinder, and then must do what the header says."""
    with wsgi.connect() as connection:
        response = connection.send(request_bytes("GET", "/hop")).read_response()
        refused = wsgi.name != "serpentry" and response.status == 500
        assert (response.status, response.body) == (200, b"ok") or refused
        assert connection.is_closed(timeout=0.5) is not response.keeps_alive


def test_expect_continue_is_answered_before_the_body(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        head = request_bytes("POST", "/echo", {"Expect": "100-continue", "Content-Length": "5"})
        assert connection.send(head).read_interim().status == 100
        response = connection.send(b"hello").read_response()
        assert (response.status, response.body, response.interim) == (200, b"hello", [])


def test_expect_continue_with_chunked_body(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        head = request_bytes("POST", "/echo", {"Expect": "100-Continue", "Transfer-Encoding": "chunked"})
        assert connection.send(head).read_interim().status == 100
        assert connection.send(b"5\r\nhello\r\n0\r\n\r\n").read_response().body == b"hello"


def test_expect_continue_when_the_application_does_not_read(wsgi: Running) -> None:
    """The final answer may come at once or, for a server that reads ahead, after 100 and the body."""
    with wsgi.connect() as connection:
        head = request_bytes("POST", "/not-reading", {"Expect": "100-continue", "Content-Length": "5"})
        first = connection.send(head).read_interim()
        if first.status == 100:
            connection.send_tolerant(b"hello")
            assert json.loads(connection.read_response().body) == "body ignored"
        else:
            assert first.status == 200


def test_expect_is_ignored_on_1_0(wsgi: Running) -> None:
    """RFC 9110 10.1.1: an HTTP/1.0 client does not know 1xx."""
    with wsgi.connect() as connection:
        headers = {"Expect": "100-continue", "Content-Length": "5"}
        connection.send(request_bytes("POST", "/echo", headers, b"hello", version="1.0"))
        response = connection.read_response()
        assert response.interim == [] and response.body == b"hello"


def test_chunked_request_with_extensions_and_trailers(wsgi: Running) -> None:
    body = b'5;ext=1;q="v"\r\nhello\r\n0006\r\n world\r\n0;last\r\nX-Trailer: yes\r\n\r\n'
    with wsgi.connect() as connection:
        connection.send(request_bytes("POST", "/echo", {"Transfer-Encoding": "chunked"}, body))
        assert connection.read_response().body == b"hello world"


def test_chunked_request_byte_by_byte(wsgi: Running) -> None:
    raw = request_bytes(
        "POST", "/echo", {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n"
    )
    with wsgi.connect() as connection:
        for index in range(len(raw)):
            connection.send(raw[index : index + 1])
        assert connection.read_response().body == b"abc0123456789"


def test_leading_empty_line_is_ignored(wsgi: Running) -> None:
    """RFC 9112 2.2: at least one CRLF before the request line should be ignored."""
    with wsgi.connect() as connection:
        assert connection.send(b"\r\n" + request_bytes("GET", "/pid")).read_response().status == 200


def test_long_but_legal_head(wsgi: Running) -> None:
    target = "/status?line=200%20OK&body=" + "q" * 3000
    response = wsgi.fetch(target, headers=[(f"X-Field-{n}", "v" * 200) for n in range(60)])
    assert response.status == 200 and len(response.body) == 3000


def test_strict_client_is_strict() -> None:
    """The tests above lean on the raw client's refusals, so these are tested too."""
    import socket
    import threading

    def answers(raw: bytes) -> object:
        from rawhttp import Connection

        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            accepted, _ = listener.accept()
            accepted.sendall(raw)
            accepted.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with Connection(listener.getsockname()) as connection:
                return connection.read_response()
        finally:
            thread.join()
            listener.close()

    for raw in (
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    ):
        with pytest.raises(ProtocolError):
            answers(raw)
    assert answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").body == b"ok"
