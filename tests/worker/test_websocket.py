"""WebSockets through the worker."""

from __future__ import annotations

import frames
import pytest
from frames import Request
from harness import Answer, Worker


def connect(worker: Worker, path: str, **fields: object) -> int:
    return worker.request(path=path, flags=frames.WEBSOCKET, **fields)


def message(id: int, data: bytes, *, text: bool = False, end: bool = True) -> bytes:
    return frames.frame(frames.MESSAGE, id, data, (frames.TEXT if text else 0) | (frames.END if end else 0))


def close(id: int, code: int, reason: str = "") -> bytes:
    return frames.frame(frames.CLOSE, id, code.to_bytes(2, "little") + frames.text(reason))


def messages(worker: Worker, id: int) -> list[tuple[bytes, bool, bool]]:
    return [(m.data, bool(m.flags & frames.TEXT), m.end) for m in worker.of(id, frames.MESSAGE)]


def test_accept_and_echo(asgi: Worker) -> None:
    id = connect(asgi, "/ws/echo", headers=[("sec-websocket-protocol", "chat, other")])
    accepted = asgi.first(id, frames.RESPONSE)
    assert (accepted.status, accepted.end) == (101, False)
    assert accepted.headers == [(b"x-a", b"b"), (b"sec-websocket-protocol", b"chat")]
    asgi.send(message(id, "h\xe9".encode(), text=True) + message(id, b"\x00\xff") + message(id, b""))
    asgi.wait_for(lambda: len(messages(asgi, id)) == 3, "three echoes")
    assert messages(asgi, id) == [("h\xe9".encode(), True, True), (b"\x00\xff", False, True), (b"", False, True)]
    asgi.send(close(id, 1001, "bye"))
    answer = Answer(asgi.done(id))
    assert answer.failed is None and not asgi.of(id, frames.CLOSE)
    assert "disconnect 1001 'bye'" in asgi.errors()


def test_a_client_that_vanishes(asgi: Worker) -> None:
    id = connect(asgi, "/ws/echo")
    asgi.first(id, frames.RESPONSE)
    asgi.send(frames.frame(frames.CANCEL, id))
    asgi.done(id)
    assert "disconnect 1006 ''" in asgi.errors()


def test_a_message_in_pieces(asgi: Worker) -> None:
    """Longer than the window: credit must come before the message is complete."""
    id = connect(asgi, "/ws/size")
    asgi.first(id, frames.RESPONSE)
    total, sent = 1_000_000, 0
    while sent < total:
        def credited() -> int:
            return sum(int.from_bytes(m.payload, "little") for m in asgi.of(id, frames.CREDIT))
        asgi.wait_for(lambda: sent - credited() <= 196_608, "credit")
        size = min(65536, total - sent)
        sent += size
        asgi.send(message(id, b"m" * size, end=sent == total))
    assert asgi.first(id, frames.MESSAGE).data == b"1000000"
    asgi.send(close(id, 1000))
    asgi.done(id)


def test_a_message_that_is_too_long(asgi: Worker) -> None:
    id = connect(asgi, "/ws/size")
    asgi.first(id, frames.RESPONSE)
    piece = message(id, b"m" * 65536, end=False)
    for _ in range(257):
        asgi.send(piece)
    assert asgi.first(id, frames.CLOSE).status == 1009
    asgi.done(id)


def test_text_that_is_not_utf8(asgi: Worker) -> None:
    id = connect(asgi, "/ws/echo")
    asgi.send(message(id, b"\xff", text=True))
    assert asgi.first(id, frames.CLOSE).status == 1007
    asgi.done(id)


def test_messages_wait_for_credit(asgi: Worker) -> None:
    id = connect(asgi, "/ws/flood", window=100_000)
    asgi.wait_for(lambda: sum(len(data) for data, _, _ in messages(asgi, id)) == 100_000, "a window of message")
    assert asgi.get("/").status == 200
    assert "flooded" not in asgi.errors() and not messages(asgi, id)[-1][2]
    asgi.credit(id, 100_000)
    asgi.done(id)
    parts = messages(asgi, id)
    assert b"".join(data for data, _, _ in parts) == b"z" * 200_000
    assert [end for _, _, end in parts] == [False] * (len(parts) - 1) + [True]
    assert asgi.first(id, frames.CLOSE).status == 1000


@pytest.mark.parametrize("word,code,reason", [("close", 4001, b"asked"), ("return", 1000, b""), ("raise", 1011, b"")])
def test_the_application_closes(asgi: Worker, word: str, code: int, reason: bytes) -> None:
    id, asgi.next_id = asgi.next_id, asgi.next_id + 1
    request = Request(path="/ws/echo", request_id="ws-" + word).encode(id, frames.WEBSOCKET)
    asgi.send(request + message(id, word.encode(), text=True))  # at once, so that all may happen in one batch
    closed = asgi.first(id, frames.CLOSE)
    assert (closed.status, closed.reason) == (code, reason)
    assert asgi.done(id)[-1].kind == frames.DONE_FRAME and len(asgi.of(id, frames.CLOSE)) == 1
    assert ("request ws-" + word in asgi.errors()) == (word == "raise")


def test_done_comes_after_everything(asgi: Worker) -> None:
    messages = asgi.done(connect(asgi, "/ws/brief"))
    kinds = [m.kind for m in messages if m.kind != frames.STARTED]
    assert kinds == [frames.RESPONSE, frames.MESSAGE, frames.CLOSE, frames.DONE_FRAME]


def test_refusal(asgi: Worker) -> None:
    answer = Answer(asgi.done(connect(asgi, "/ws/refuse")))
    assert (answer.status, answer.body, answer.ended) == (403, b"", True)


def test_denial_response(asgi: Worker) -> None:
    answer = Answer(asgi.done(connect(asgi, "/ws/deny")))
    assert (answer.status, answer.body, answer.ended) == (451, b"not here", True)
    assert answer.headers == [(b"x-why", b"law")]


@pytest.mark.parametrize("path,reason", [
    ("/ws/nothing", "the application returned without a response"), ("/ws/raises", "ValueError: no such thing"),
])
def test_no_answer_to_the_handshake(asgi: Worker, path: str, reason: str) -> None:
    answer = Answer(asgi.done(connect(asgi, path)))
    assert answer.status == 0 and answer.failed == reason


@pytest.mark.once
def test_scope(start) -> None:
    with start("ws_scope") as worker:
        worker.ready()
        request = Request(scheme="https", headers=[("sec-websocket-protocol", "a,b")])
        id = worker.request(request, flags=frames.WEBSOCKET)
        assert worker.first(id, frames.MESSAGE).data == b"websocket wss ['a', 'b'] False"
