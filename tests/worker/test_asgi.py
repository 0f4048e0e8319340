"""ASGI through the worker: scope, receive and send, flow control, and what happens to broken applications."""

from __future__ import annotations

import ast
import struct
from pathlib import Path

import frames
import pytest
from frames import Request
from harness import Worker


def scope(worker: Worker, **fields: object) -> dict[str, object]:
    answer = worker.get(fields.pop("path", "/dump"), **fields)
    assert answer.status == 200, answer.failed
    return {key: ast.literal_eval(value) for key, value in
            (line.split("=", 1) for line in answer.body.decode().splitlines())}


def received(worker: Worker, id: int) -> int:
    return sum(len(m.data) for m in worker.of(id) if m.kind in (frames.RESPONSE, frames.BODY, frames.MESSAGE))


def test_hello(asgi: Worker) -> None:
    messages = asgi.done(asgi.request())
    kinds = [(m.kind, m.flags) for m in messages]
    # Where tasks start eagerly the whole request happens within its batch.
    assert kinds[-1] == (frames.RESPONSE, frames.END | frames.DONE)
    assert kinds[:-1] in ([], [(frames.STARTED, 0)])
    assert messages[-1].data == b"Hello, World!\n" and messages[-1].headers == [(b"content-type", b"text/plain")]


def test_scope(asgi: Worker) -> None:
    found = scope(asgi, method="PUT", query="a=%20b", raw_path="/d%75mp", version=10, scheme="https",
                  headers=[("host", "example.com"), ("x-thing", b"caf\xe9"), ("x_y", "1")])
    assert found == {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.5"}, "http_version": "1.0", "method": "PUT",
        "scheme": "https", "path": "/dump", "raw_path": b"/d%75mp", "query_string": b"a=%20b", "root_path": "",
        "headers": [(b"host", b"example.com"), (b"x-thing", b"caf\xe9"), (b"x_y", b"1")],
        "client": ("10.0.0.9", 4711), "server": ("127.0.0.1", 8000), "state": {"started": "yes"},
    }
    usual = scope(asgi)
    assert usual["state"] == {"started": "yes"}, "each request has its own copy"
    assert [usual[key] for key in ("http_version", "method", "scheme", "query_string", "raw_path")] == [
        "1.1", "GET", "http", b"", b"/dump"]


def test_the_servers_address_may_change(asgi: Worker) -> None:
    found = [scope(asgi, server=server)["server"] for server in (("a", 1), ("a", 2), ("b", 2), ("a", 1), ("", 0))]
    assert found == [("a", 1), ("a", 2), ("b", 2), ("a", 1), None]


def test_root_path_is_part_of_the_path(asgi: Worker) -> None:
    found = scope(asgi, root_path="/mount")
    assert (found["path"], found["root_path"]) == ("/mount/dump", "/mount")


def test_addresses_of_a_unix_socket(asgi: Worker) -> None:
    found = scope(asgi, client=("", 0), server=("/run/x.sock", 0))
    assert (found["client"], found["server"]) == (None, ("/run/x.sock", None))


@pytest.mark.parametrize("path", ["/echo", "/task-echo"])
@pytest.mark.parametrize("size", [0, 1, 65536, 200_000])
def test_body(asgi: Worker, path: str, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    answer = asgi.get(path, method="POST", body=body)
    assert answer.body == body, answer.failed


def test_a_body_is_credited_as_it_is_received(asgi: Worker) -> None:
    id = asgi.request(path="/echo", method="POST", flags=frames.HAS_BODY, window=2_000_000)
    window, total, sent = 256 * 1024, 1_000_000, 0

    def credited() -> int:
        return sum(struct.unpack("<I", message.payload)[0] for message in asgi.of(id, frames.CREDIT))

    while sent < total:
        asgi.wait_for(lambda: sent - credited() < window, "credit")
        size = min(window - (sent - credited()), 65536, total - sent)
        sent += size
        asgi.send(frames.frame(frames.BODY, id, b"b" * size, frames.END if sent == total else 0))
    assert asgi.answer(id).body == b"b" * total


def test_disconnect_is_said_after_the_response(asgi: Worker) -> None:
    assert asgi.get("/disconnect").body == b"x"
    assert "seen ['http.request', 'http.disconnect', 'http.disconnect', 'http.disconnect']" in asgi.errors()


def test_a_client_that_leaves_while_it_sends(asgi: Worker) -> None:
    id = asgi.request(path="/echo", method="POST", flags=frames.HAS_BODY)
    asgi.send(frames.frame(frames.BODY, id, b"half"))
    asgi.first(id, frames.CREDIT)
    asgi.send(frames.frame(frames.CANCEL, id))
    answer = asgi.answer(id)
    assert answer.status == 0 and answer.failed == "ConnectionError: client left"


def test_a_client_that_leaves_while_it_receives(asgi: Worker) -> None:
    id = asgi.request(path="/endless", window=5000, request_id="leaver")
    asgi.wait_for(lambda: received(asgi, id) == 5000, "a window of body")
    asgi.send(frames.frame(frames.CANCEL, id))
    assert asgi.answer(id).failed is None
    assert "ClientDisconnected the client has disconnected" in asgi.errors()
    assert "request leaver" not in asgi.errors(), "a client that leaves is no failure of the application"


def test_streaming(asgi: Worker) -> None:
    answer = asgi.get("/stream")
    bodies = [(m.kind, m.data, m.end) for m in answer.messages if m.kind in (frames.RESPONSE, frames.BODY)]
    assert bodies == [(frames.RESPONSE, b"one", False), (frames.BODY, b"two", False), (frames.BODY, b"", True)]


def test_a_response_waits_for_credit(asgi: Worker) -> None:
    size, window = 300_000, 100_000
    before = asgi.errors().count("large is out")
    id = asgi.request(path="/large", query=str(size), window=window)
    asgi.wait_for(lambda: received(asgi, id) >= window, "a window of body")
    assert asgi.get("/").status == 200, "others are served meanwhile"
    assert received(asgi, id) == window and asgi.errors().count("large is out") == before
    while received(asgi, id) < size:
        target = min(received(asgi, id) + 70_000, size)
        asgi.credit(id, 70_000)
        asgi.wait_for(lambda: received(asgi, id) >= target, "the next piece")
        assert received(asgi, id) == target
    assert asgi.answer(id).ended and asgi.errors().count("large is out") == before + 1


def test_background_work_delays_done_only(asgi: Worker) -> None:
    id = asgi.request(path="/background")
    response = asgi.first(id, frames.RESPONSE)
    assert response.end and not response.done and "background" not in asgi.errors()
    assert asgi.answer(id).messages[-1].kind == frames.DONE_FRAME
    assert "background" in asgi.errors()


@pytest.mark.parametrize("path,status,body", [("/204", 204, b""), ("/bytearray", 200, b"array")])
def test_answers(asgi: Worker, path: str, status: int, body: bytes) -> None:
    answer = asgi.get(path)
    assert (answer.status, answer.body, answer.ended, answer.failed) == (status, body, True, None)


def test_head_has_no_body(asgi: Worker) -> None:
    answer = asgi.get("/", method="HEAD")
    assert (answer.status, answer.body, answer.ended, answer.failed) == (200, b"", True, None)


@pytest.mark.parametrize("path,reason", [
    ("/raises", "ValueError: no such thing"),
    ("/nothing", "the application returned without a response"),
    ("/bad/order", "RuntimeError: a response must start with http.response.start"),
    ("/bad/twice", "RuntimeError: the response was started already"),
    ("/bad/type", "RuntimeError: an HTTP response cannot send \"http.unknown\""),
    ("/bad/no-dict", "TypeError: an event must be a dict"),
    ("/bad/status", "ValueError: status x is not a number from 200 to 999"),
    ("/bad/status-100", "ValueError: status 100 is not a number"),
    ("/bad/body", "TypeError: the body must be bytes, not str"),
    ("/bad/value", "ValueError: header \"x-a\": header value contains a control character"),
    ("/bad/str", "TypeError: a header name must be bytes, not str"),
    ("/bad/pair", "TypeError: each header must be a pair of bytes"),
    ("/bad/short", "RuntimeError: the response is shorter than its Content-Length"),
])
def test_mistakes_before_the_head(asgi: Worker, path: str, reason: str) -> None:
    answer = asgi.get(path, request_id="rid-" + path)
    assert answer.failed is not None and answer.failed.startswith(reason)
    assert [m.kind for m in answer.messages if m.kind != frames.STARTED] == [frames.FAILED]
    assert f"request rid-{path} GET '{path}' failed: {answer.failed}" in asgi.errors()


@pytest.mark.parametrize("path,reason", [
    ("/midway", "KeyError: 'midway'"), ("/half", "the application returned before its response was complete"),
])
def test_mistakes_after_the_head(asgi: Worker, path: str, reason: str) -> None:
    answer = asgi.get(path)
    assert (answer.status, answer.body, answer.ended, answer.failed) == (200, b"begun", False, reason)


@pytest.mark.parametrize("path,body,log", [
    ("/late", b"fine", "ValueError: after the response"),
    ("/bad/after", b"x", "RuntimeError: the response was complete already"),
    ("/too-many", b"123", "the application sent more bytes than its Content-Length"),
])
def test_mistakes_after_the_response(asgi: Worker, path: str, body: bytes, log: str) -> None:
    answer = asgi.get(path, request_id="late-" + path)
    assert (answer.status, answer.body, answer.ended, answer.failed) == (200, body, True, None)
    assert f"request late-{path} GET '{path}' failed: {log}" in asgi.errors()


def test_started_is_said_for_requests_that_go_on(asgi: Worker) -> None:
    id = asgi.request(path="/sleep", query="0.05")
    asgi.first(id, frames.STARTED)
    assert not asgi.of(id, frames.RESPONSE)
    assert asgi.answer(id).body == b"slept" and len(asgi.of(id, frames.STARTED)) == 1


def test_many_requests_in_one_write(asgi: Worker) -> None:
    first = asgi.next_id
    asgi.next_id += 200
    asgi.send(b"".join(Request().encode(id) for id in range(first, first + 200)))
    for id in range(first, first + 200):
        assert asgi.answer(id).status == 200


@pytest.mark.once
def test_a_long_batch_is_answered_before_it_ends(asgi: Worker, tmp_path: Path) -> None:
    """Answers do not wait for a request behind them that takes long, nor does the news that one was started."""
    assert asgi.runs_eagerly()
    first = asgi.next_id
    asgi.next_id += 4
    gate = tmp_path / "gate"
    requests = [Request(path="/work"), Request(path="/work", query="wait"), Request(path="/work"),
                Request(path="/until", query=str(gate))]
    asgi.send(b"".join(request.encode(first + index) for index, request in enumerate(requests)))
    assert asgi.answer(first).body == b"worked"
    asgi.first(first + 1, frames.STARTED)
    assert asgi.answer(first + 2).body == b"worked" and not asgi.of(first + 3)
    gate.touch()
    assert [asgi.answer(first + index).body for index in (1, 3)] == [b"worked", b"unblocked"]


def test_an_application_that_is_no_coroutine_function(start, python: str) -> None:
    with start("asgi_app:plain", interface="asgi", lifespan="off") as worker:
        worker.ready()
        for path in ("/generator", "/generator-that-waits", "/object"):
            assert worker.get(path).body == b"from a generator", path
        assert worker.get("/raises").failed == "ValueError: when called"
        failed = worker.get("/number").failed
        assert failed is not None and failed.startswith("TypeError: ") and "await" in failed, failed
        seen = ast.literal_eval(worker.get("/task").body.decode())
        assert seen == ["looks_at_its_task", True, "CORO_RUNNING", True, True, "looks_at_its_task", True, False]
        assert worker.finish() == 0


@pytest.mark.once
def test_uvloop(start, python: str) -> None:
    from conftest import has_uvloop

    if not has_uvloop(python):
        pytest.skip(f"uvloop is not installed for {python}")
    with start("asgi_app", loop="auto") as worker:
        worker.ready()
        assert worker.hello.payload.endswith(b"uvloop")
        assert worker.get("/echo", method="POST", body=b"abc" * 50_000).body == b"abc" * 50_000
        assert worker.get("/sleep", query="0.01").body == b"slept"
        assert worker.finish() == 0 and "shut down" in worker.errors()
