"""Code of the application that runs in the middle of the worker's: no lock of the worker may be held then.

It would be waited for by a thread that has the interpreter lock, or by that very code: the worker would hang for ever.
"""

from __future__ import annotations

import frames
import pytest
from harness import Worker


def interrupt(worker: Worker, id: int) -> None:
    """The request ends at its deadline."""
    worker.order(frames.INTERRUPT, id)
    assert worker.control_message(frames.STACK).id == id
    assert worker.answer(id).failed == "deadline"


@pytest.mark.parametrize("path,flags", [("/headers", 0), ("/accept", frames.WEBSOCKET)], ids=["http", "websocket"])
def test_an_interrupt_while_headers_are_read(start, path: str, flags: int) -> None:
    with start("reentry") as worker:
        worker.ready()
        id = worker.request(path=path, flags=flags)
        worker.wait_for_log("headers")
        interrupt(worker, id)
        assert worker.get("/").status == 200 and worker.finish() == 0


def test_interrupts_while_garbage_is_collected(start) -> None:
    with start("reentry") as worker:
        worker.ready()
        # About every second one meets the event loop inside of the collector.
        for round in range(1, 9):
            id = worker.request(path="/collector", method="POST", flags=frames.HAS_BODY)
            worker.send(b"".join(frames.frame(frames.BODY, id, b"x") for _ in range(1000)))
            worker.wait_for_log("collecting\n" * round)
            interrupt(worker, id)
        assert worker.get("/").status == 200 and worker.finish() == 0


def test_an_interrupt_while_the_task_is_made(start) -> None:
    """The request is not in the queue any more, and has no task yet."""
    with start("reentry:slow_tasks", factory=True, lifespan="off") as worker:
        worker.ready()
        id = worker.request(path="/waits")
        worker.wait_for_log("made")
        interrupt(worker, id)
        assert worker.get("/").status == 200 and worker.finish() == 0


def test_an_event_that_is_sent_while_another_is_read(start) -> None:
    with start("reentry") as worker:
        worker.ready()
        answer = worker.get("/send-in-headers")
        assert (answer.status, answer.body) == (201, b"the response was started already")
        id = worker.request(path="/accept-in-headers", flags=frames.WEBSOCKET)
        assert b"while this event was read" in worker.first(id, frames.MESSAGE).data
        worker.done(id)
        assert [m.status for m in worker.of(id, frames.RESPONSE)] == [101], "accepted once"
        assert worker.get("/").status == 200


def test_a_finalizer_of_what_has_been_sent(start) -> None:
    with start("reentry") as worker:
        worker.ready()
        id = worker.request(path="/finalizer", window=1000)
        worker.first(id, frames.RESPONSE)
        assert "gone" not in worker.errors(), "the rest must wait for credit, or this test shows nothing"
        worker.credit(id, 100_000)
        assert len(worker.answer(id).body) == 50_000
        assert "gone, Ready" in worker.errors()
        assert worker.get("/").status == 200


def test_a_finalizer_of_what_was_cancelled(start) -> None:
    with start("reentry") as worker:
        worker.ready()
        id = worker.request(path="/traceback")
        worker.wait_for_log("waiting")
        interrupt(worker, id)
        worker.wait_for_log("gone, Ready")
        assert worker.get("/").status == 200


def test_write_from_a_thread_while_the_log_is_written(start) -> None:
    with start("reentry:wsgi") as worker:
        worker.ready()
        answer = worker.get("/excess")
        assert (answer.status, answer.body) == (200, b"123")
        worker.wait_for_log("written")
        assert "more bytes than its Content-Length" in worker.errors()
        assert worker.get("/").status == 200 and worker.finish() == 0
