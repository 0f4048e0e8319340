"""WSGI through the worker: PEP 3333, streaming, flow control, and what happens to broken applications."""

from __future__ import annotations

import ast
import struct

import frames
import pytest
from frames import Request
from harness import Worker


def environ(worker: Worker, **fields: object) -> dict[str, str]:
    """The environ of a request, values as their repr."""
    answer = worker.get(fields.pop("path", "/dump"), **fields)
    assert answer.status == 200, answer.failed
    return dict(line.split("=", 1) for line in answer.body.decode("latin-1").splitlines())


def test_hello_is_one_frame(wsgi: Worker) -> None:
    messages = wsgi.done(wsgi.request())
    assert [(m.kind, m.flags) for m in messages] == [(frames.RESPONSE, frames.END | frames.DONE)]
    assert messages[0].data == b"Hello, World!\n"
    assert messages[0].headers == [(b"Content-Type", b"text/plain"), (b"Content-Length", b"14")]


def test_environ(wsgi: Worker) -> None:
    headers = [("host", "example.com"), ("cookie", "a=1"), ("accept", "x"), ("accept", "y"), ("cookie", "b=2"),
               ("content-type", "text/x"), ("x-thing", b"caf\xe9"), ("x-thing", "2"), ("bad_name", "1"),
               ("proxy", "evil")]
    found = environ(wsgi, method="PUT", query="a=%20b", raw_path="/d%75mp", root_path="/mnt", headers=headers,
                    version=10, scheme="https", request_id="abc", content_length=0)
    expected = {
        "REQUEST_METHOD": "PUT", "SCRIPT_NAME": "/mnt", "PATH_INFO": "/dump", "QUERY_STRING": "a=%20b",
        "REQUEST_URI": "/d%75mp?a=%20b", "RAW_URI": "/d%75mp?a=%20b", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.0", "REMOTE_ADDR": "10.0.0.9", "REMOTE_PORT": "4711", "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "0", "HTTP_HOST": "example.com", "HTTP_COOKIE": "a=1; b=2", "HTTP_ACCEPT": "x,y",
        "HTTP_X_THING": "caf\xe9,2", "wsgi.url_scheme": "https", "serpentry.request_id": "abc",
        "wsgi.version": (1, 0), "wsgi.multithread": False, "wsgi.multiprocess": True, "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert {key: ast.literal_eval(found[key]) for key in expected} == expected
    assert set(found) - set(expected) == {"wsgi.errors", "wsgi.file_wrapper", "wsgi.input"}


def test_environ_of_a_unix_socket(wsgi: Worker) -> None:
    found = environ(wsgi, server=("/run/x.sock", 0), client=("", 0), headers=[("host", "shop.example:81")])
    assert (found["SERVER_NAME"], found["SERVER_PORT"], found["REMOTE_ADDR"]) == ("'shop.example'", "'81'", "''")
    found = environ(wsgi, server=("", 0), headers=[])
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == ("'localhost'", "'80'")


def test_path_is_latin1(wsgi: Worker) -> None:
    found = environ(wsgi, path="/caf\xe9", raw_path="/caf%C3%A9")
    assert ast.literal_eval(found["PATH_INFO"]).encode("latin-1").decode() == "/caf\xe9"


@pytest.mark.parametrize("size", [0, 1, 65536, 200_000])
def test_body(wsgi: Worker, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert wsgi.get("/echo", method="POST", body=body[:size]).body == body[:size]


def test_reading_methods(wsgi: Worker) -> None:
    body = b"abcde\nfghi\njk\nl\n\nmn"
    answer = wsgi.get("/methods", body=body)
    assert ast.literal_eval(answer.body.decode()) == \
        [b"abc", b"de\n", b"fg", b"", [b"hi\n", b"jk\n"], [b"l\n", b"\n", b"mn"], b"", b"", b""]
    assert ast.literal_eval(wsgi.get("/methods").body.decode()) == [b"", b"", b"", b"", [], [], b"", b"", b""]


def test_a_body_is_credited_as_it_is_read(wsgi: Worker) -> None:
    id = wsgi.request(path="/count", method="POST", flags=frames.HAS_BODY)
    window = 256 * 1024
    total, sent = 1_000_000, 0
    while sent < total:
        room = window - (sent - credited(wsgi, id))
        if room == 0:
            wsgi.wait_for(lambda: sent - credited(wsgi, id) < window, "credit")
            continue
        size = min(room, 65536, total - sent)
        sent += size
        wsgi.send(frames.frame(frames.BODY, id, b"b" * size, frames.END if sent == total else 0))
    assert wsgi.answer(id).body == b"1000000"


def credited(worker: Worker, id: int) -> int:
    return sum(struct.unpack("<I", message.payload)[0] for message in worker.of(id, frames.CREDIT))


def test_a_body_that_is_cut_short_is_an_error(wsgi: Worker) -> None:
    id = wsgi.request(path="/echo", method="POST", flags=frames.HAS_BODY)
    wsgi.send(frames.frame(frames.BODY, id, b"half") + frames.frame(frames.CANCEL, id))
    answer = wsgi.answer(id)
    assert answer.status == 0
    assert answer.failed == "OSError: client disconnected before the end of the request body"


def test_pieces_leave_before_the_next_is_asked_for(wsgi: Worker) -> None:
    id = wsgi.request(path="/stream")
    messages = wsgi.done(id)
    kinds = [(m.kind, m.data, m.end) for m in messages]
    assert kinds == [(frames.RESPONSE, b"one", False), (frames.BODY, b"two", False), (frames.BODY, b"three", False),
                     (frames.BODY, b"", True)]
    assert "closed" in wsgi.errors()


def test_the_stated_length_ends_the_response(wsgi: Worker) -> None:
    before = wsgi.errors().count("closed")
    messages = wsgi.done(wsgi.request(path="/stated"))
    assert [(m.kind, m.data, m.flags) for m in messages] == [
        (frames.RESPONSE, b"abc", 0), (frames.BODY, b"def", frames.END | frames.DONE)]
    assert wsgi.errors().count("closed") == before + 1


def test_a_response_waits_for_credit(wsgi: Worker) -> None:
    size, window = 300_000, 100_000
    id = wsgi.request(path="/large", query=str(size), window=window)
    wsgi.wait_for(lambda: received(wsgi, id) >= window, "a window of body")
    wsgi.order(frames.NUDGE, flags=frames.RECLAIM)
    wsgi.control_message(frames.RECLAIMED)
    assert received(wsgi, id) == window, "more was sent than there was credit for"
    assert not any(message.done for message in wsgi.of(id))
    while received(wsgi, id) < size:
        before = received(wsgi, id)
        wsgi.credit(id, 70_000)
        wsgi.wait_for(lambda: received(wsgi, id) >= min(before + 70_000, size), "the next piece")
        assert received(wsgi, id) == min(before + 70_000, size)
    answer = wsgi.answer(id)
    assert answer.body == b"x" * size and answer.ended
    assert max(len(m.data) for m in answer.messages) <= 65536


def received(worker: Worker, id: int) -> int:
    return sum(len(m.data) for m in worker.of(id) if m.kind in (frames.RESPONSE, frames.BODY))


@pytest.mark.parametrize("window", [5000, 256 * 1024], ids=["waiting", "running"])
def test_a_client_that_leaves_stops_the_iteration(wsgi: Worker, window: int) -> None:
    before = wsgi.errors().count("closed")
    id = wsgi.request(path="/endless", window=window)
    wsgi.first(id, frames.RESPONSE)
    wsgi.send(frames.frame(frames.CANCEL, id))
    answer = wsgi.answer(id)
    assert answer.failed is None and not answer.ended
    assert wsgi.errors().count("closed") == before + 1


@pytest.mark.parametrize("path,status,body", [
    ("/write", 200, b"written and returned"), ("/pair", 201, b"ab"), ("/empty", 204, b""), ("/304", 304, b""),
    ("/replaced", 500, b"sorry"),
])
def test_answers(wsgi: Worker, path: str, status: int, body: bytes) -> None:
    answer = wsgi.get(path)
    assert (answer.status, answer.body, answer.ended, answer.failed) == (status, body, True, None)


def test_reason_and_latin1_headers(wsgi: Worker) -> None:
    answer = wsgi.get("/pair")
    assert answer.reason == b"Made here" and answer.headers == [(b"X-Name", b"caf\xe9")]
    assert wsgi.get("/").reason == b""


def test_exc_info_replaces_the_head(wsgi: Worker) -> None:
    assert wsgi.get("/replaced").headers == [(b"X-Second", b"2")]


def test_head_has_no_body(wsgi: Worker) -> None:
    answer = wsgi.get("/", method="HEAD")
    assert (answer.status, answer.body, answer.ended) == (200, b"", True)
    assert (b"Content-Length", b"14") in answer.headers


def test_file_wrapper(wsgi: Worker) -> None:
    answer = wsgi.get("/file")
    assert answer.body.startswith(b'"""One WSGI application') and answer.ended


@pytest.mark.parametrize("path,reason", [
    ("/raises", "ValueError: no such thing"),
    ("/exits", "SystemExit: 3"),
    ("/no-start", "AssertionError: the application returned a body before it called start_response"),
    ("/twice", "AssertionError: start_response was called a second time without exc_info"),
    ("/bad/status", "ValueError: status \"200OK\""),
    ("/bad/status-100", "ValueError: status \"100 Continue\""),
    ("/bad/status-lf", "ValueError: status"),
    ("/bad/status-long", "ValueError: status"),
    ("/bad/many", "ValueError: header \"a\": header fields are larger than 262144 bytes together"),
    ("/bad/status-type", "TypeError: status must be a str"),
    ("/bad/value", "ValueError: header \"X-A\": header value contains a control character"),
    ("/bad/name", "ValueError: header \"X A\": header name is not a token"),
    ("/bad/bytes", "TypeError: header names and values must be str, not bytes"),
    ("/bad/latin", "ValueError: header holds a character that is not latin-1"),
    ("/bad/str", "TypeError: the application's body must consist of bytes, not str"),
    ("/bad/pair", "TypeError: each header must be a (name, value) tuple"),
    ("/bad/length", "ValueError: header \"Content-Length\""),
])
def test_mistakes_before_the_head(wsgi: Worker, path: str, reason: str) -> None:
    id = wsgi.request(path=path, request_id="rid-" + path)
    answer = wsgi.answer(id)
    assert answer.failed is not None and answer.failed.startswith(reason)
    assert [m.kind for m in answer.messages] == [frames.FAILED], "nothing may be sent before a failure"
    assert f"request rid-{path} GET '{path}' failed: {answer.failed}" in wsgi.errors()
    assert wsgi.get("/").status == 200, "the worker must live on"


def test_traceback_goes_to_the_log(wsgi: Worker) -> None:
    wsgi.get("/raises", request_id="trace-me")
    log = wsgi.errors().partition("request trace-me")[2]
    assert "Traceback" in log and "in raises\n" in log and "ValueError: no such\nthing" in log


@pytest.mark.parametrize("path,body,reason", [
    ("/midway", b"begun", "KeyError: 'midway'"),
    ("/too-late", b"begun", "ValueError: after the head was sent"),
    ("/too-few", b"12345", "the application sent fewer bytes than its Content-Length"),
])
def test_mistakes_after_the_head(wsgi: Worker, path: str, body: bytes, reason: str) -> None:
    answer = wsgi.get(path)
    assert (answer.status, answer.body, answer.ended, answer.failed) == (200, body, False, reason)


def test_too_many_bytes_are_cut(wsgi: Worker) -> None:
    answer = wsgi.get("/too-many", request_id="excess")
    assert (answer.status, answer.body, answer.ended, answer.failed) == (200, b"123", True, None)
    assert "request excess GET '/too-many' failed: the application sent more bytes" in wsgi.errors()


def test_many_requests_in_one_write(wsgi: Worker) -> None:
    first = wsgi.next_id
    wsgi.next_id += 200
    wsgi.send(b"".join(Request().encode(id) for id in range(first, first + 200)))
    for id in range(first, first + 200):
        assert wsgi.answer(id).status == 200


def test_late_news_is_ignored(wsgi: Worker) -> None:
    id = wsgi.request()
    wsgi.done(id)
    wsgi.credit(id, 5)
    wsgi.send(frames.frame(frames.CANCEL, id) + frames.frame(frames.BODY, id, b"late", frames.END))
    assert wsgi.get("/").status == 200
    assert len(wsgi.of(id)) == 1
