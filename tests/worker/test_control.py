"""Nudge, reclaim, start acknowledgement and interrupts: what must work while the application is busy."""

from __future__ import annotations

import struct
import time

import frames
import pytest
from frames import Request
from harness import Worker

SYNC = ("wsgi_app", {})
THREADS = ("wsgi_app", {"threads": 3})
ASYNC = ("asgi_app", {})
ALL = pytest.mark.parametrize("app,settings", [SYNC, THREADS, ASYNC], ids=["sync", "threads", "async"])


def reclaim(worker: Worker) -> list[int]:
    worker.order(frames.NUDGE, flags=frames.RECLAIM)
    payload = worker.control_message(frames.RECLAIMED).payload
    return [id for (id,) in struct.iter_unpack("<Q", payload)]


def occupy(worker: Worker, app: str, count: int, seconds: str = "30") -> list[int]:
    """Keep every slot busy; for an event loop that means to block it."""
    path = "/block" if app == "asgi_app" else "/sleep"
    ids = [worker.request(path=path, query=seconds) for _ in range(count)]
    word = "blocking" if app == "asgi_app" else "sleeping"
    deadline = time.monotonic() + 10
    while worker.errors().count(word) < count:
        assert time.monotonic() < deadline, worker.errors()
        time.sleep(0.005)
    return ids


@ALL
def test_reclaim_while_busy(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        assert reclaim(worker) == [], "nothing to give back, which must be said as well"
        busy = occupy(worker, app, settings.get("threads", 1), "0.4")
        queued = [worker.request(path="/") for _ in range(5)]
        with_body = worker.request(path="/echo", method="POST", body=b"body")
        assert reclaim(worker) == [*queued, with_body]
        assert reclaim(worker) == []
        for id in busy:
            assert worker.answer(id).ended
        assert worker.get("/").status == 200
        assert not any(worker.of(id) for id in (*queued, with_body)), "a reclaimed request must not run"


@ALL
def test_nudge_flushes_answers_that_wait(start, app: str, settings: dict) -> None:
    """The first of two requests of a batch is answered while the second one keeps Python busy."""
    with start(app, **settings) as worker:
        worker.ready()
        slow = "/block" if app == "asgi_app" else "/sleep"
        id, other = worker.next_id, worker.next_id + 1
        worker.next_id += 2
        worker.send(Request().encode(id) + Request(path=slow, query="30").encode(other))
        worker.wait_for_log("blocking" if app == "asgi_app" else "sleeping")
        worker.order(frames.NUDGE)
        if app == "asgi_app" and not worker.runs_eagerly():
            # Tasks take their first step in the order of their creation, all before the batch is flushed.
            assert worker.first(id, frames.RESPONSE).data == b"Hello, World!\n"
        else:
            assert worker.answer(id).body == b"Hello, World!\n"
        assert not [m for m in worker.of(other) if m.kind == frames.RESPONSE]


@ALL
def test_start_is_acknowledged_before_the_application_runs(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        path = "/block" if app == "asgi_app" else "/sleep"
        id = worker.request(path=path, query="0.3", method="POST", flags=frames.ACK_START)
        worker.first(id, frames.STARTED)
        assert not worker.of(id, frames.RESPONSE), "it is said before, not with the answer"
        assert worker.answer(id).ended
        assert [m.kind for m in worker.of(id)] == [frames.STARTED, frames.RESPONSE], "and only once"


@ALL
def test_interrupt_of_a_running_request(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        id = worker.request(path="/sleep", request_id="too-slow")
        worker.wait_for_log("sleeping")
        worker.order(frames.INTERRUPT, id)
        stack = worker.control_message(frames.STACK)
        text = frames.Reader(stack.payload).text().decode()
        assert stack.id == id and "in sleep\n" in text and text.startswith("Traceback"), text
        answer = worker.answer(id)
        assert (answer.status, answer.failed) == (0, "deadline")
        assert "too-slow" not in worker.errors(), "the router reports it, with the stack"
        assert worker.get("/").status == 200, "the worker goes on"
        assert worker.finish() == 0


@ALL
def test_interrupt_of_a_queued_request(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        occupy(worker, app, settings.get("threads", 1), "0.4")
        id = worker.request(path="/")
        worker.order(frames.INTERRUPT, id)
        answer = worker.answer(id)
        assert answer.failed == "deadline passed before it started"
        assert reclaim(worker) == []


@ALL
def test_interrupt_of_a_request_that_has_ended(start, app: str, settings: dict) -> None:
    """A late interrupt must not hit whatever runs then."""
    with start(app, **settings) as worker:
        worker.ready()
        ended = worker.request()
        worker.done(ended)
        other = worker.request(path="/sleep", query="0.3")
        worker.wait_for_log("sleeping")
        worker.order(frames.INTERRUPT, ended)
        assert worker.answer(other).body == b"slept"
        assert not worker.orders, "no stack of somebody else"


@pytest.mark.parametrize("app,settings", [SYNC, ASYNC], ids=["sync", "async"])
def test_interrupts_hit_only_their_request(start, app: str, settings: dict) -> None:
    """Interrupts sent around the end of short requests: each request ends as itself, the next is never hit."""
    with start(app, **settings) as worker:
        worker.ready()
        for round in range(40):
            id = worker.request(path="/sleep", query=str(0.0005 * (round % 8)))
            worker.order(frames.INTERRUPT, id)
            answer = worker.answer(id)
            assert answer.failed in (None, "deadline", "deadline passed before it started"), answer.failed
            follower = worker.get("/")
            assert (follower.status, follower.failed) == (200, None)
        assert worker.finish() == 0


@ALL
def test_interrupts_while_the_interpreter_ends(start, app: str, settings: dict) -> None:
    """Their threads are inside of it then. Up to CPython 3.12 it ends such threads, which aborted the process."""
    with start(app, **settings) as worker:
        worker.ready()
        ids = [worker.request(path="/sleep", query="0") for _ in range(40)]
        for id in ids:
            worker.order(frames.INTERRUPT, id)
        assert worker.finish() == 0


def test_interrupt_of_one_thread_of_many(start) -> None:
    with start("wsgi_app", threads=3) as worker:
        worker.ready()
        slow, steady, waiting = [worker.request(path=path, query="0.5") for path in ("/stubborn", "/sleep", "/wait")]
        deadline = time.monotonic() + 10
        while worker.errors().count("sleeping") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        worker.order(frames.INTERRUPT, slow)
        assert worker.answer(slow).body == b"RequestTimeout", "an application may answer in spite of it"
        assert worker.answer(steady).body == b"slept"
        assert worker.get("/release").status == 200
        assert worker.answer(waiting).body == b"released"


def test_threads_run_at_the_same_time(start) -> None:
    with start("wsgi_app", threads=4) as worker:
        worker.ready()
        waiting = [worker.request(path="/wait") for _ in range(3)]
        assert worker.get("/release").status == 200, "the fourth thread is free"
        assert [worker.answer(id).body for id in waiting] == [b"released"] * 3
        idents = {worker.answer(id).body for id in [worker.request(path="/thread") for _ in range(4)]}
        assert len(idents) == 4


def test_somebody_always_watches_the_link(start) -> None:
    """The thread that watches the link, because it waits for its body, must hand that over when it has it."""
    with start("wsgi_app", threads=2) as worker:
        worker.ready()
        short = worker.request(path="/sleep", query="0.1")
        reader = worker.request(path="/read-then-wait", method="POST", flags=frames.HAS_BODY)
        worker.done(short)
        worker.send(worker.body_frames(reader, b"body"))
        worker.wait_for_log("read\n")
        assert worker.get("/release").status == 200
        assert worker.answer(reader).body == b"body"


def test_threads_share_the_link_for_bodies(start) -> None:
    """All threads wait for body bytes or credit; whichever reads the link must wake the others."""
    with start("wsgi_app", threads=4) as worker:
        worker.ready()
        readers = [worker.request(path="/echo", method="POST", flags=frames.HAS_BODY) for _ in range(3)]
        large = worker.request(path="/large", query="50000", window=10_000)
        worker.first(large, frames.RESPONSE)
        for round in range(20):
            for id in readers:
                worker.send(frames.frame(frames.BODY, id, b"%d-%d;" % (id, round)))
            worker.credit(large, 2000)
        for id in readers:
            worker.send(frames.frame(frames.BODY, id, b"", frames.END))
        assert worker.answer(large).body == b"x" * 50_000
        for id in readers:
            assert worker.answer(id).body == b"".join(b"%d-%d;" % (id, round) for round in range(20))


@pytest.mark.parametrize("app,settings", [SYNC, THREADS], ids=["sync", "threads"])
@pytest.mark.parametrize("path", ["/echo", "/large"])
def test_interrupt_of_a_request_that_waits_for_its_client(start, app: str, settings: dict, path: str) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        id = worker.request(path=path, query="50000", window=1000, flags=frames.HAS_BODY)
        if path == "/large":
            worker.first(id, frames.RESPONSE)
        else:
            worker.send(frames.frame(frames.BODY, id, b"x" * 70_000))
            worker.first(id, frames.CREDIT)
        worker.order(frames.INTERRUPT, id)
        worker.control_message(frames.STACK)
        assert worker.answer(id).failed == "deadline"
        assert worker.get("/").status == 200


@pytest.mark.parametrize("path", ["/block", "/block-later"])
def test_interrupt_of_a_blocked_event_loop(start, path: str) -> None:
    with start("asgi_app") as worker:
        worker.ready()
        sibling = worker.request(path="/sleep", query="0.1")
        worker.wait_for_log("sleeping")
        id = worker.request(path=path)
        worker.wait_for_log("blocking")
        worker.order(frames.INTERRUPT, id)
        text = frames.Reader(worker.control_message(frames.STACK).payload).text().decode()
        assert "in block\n" in text, text
        assert worker.answer(id).failed == "deadline"
        assert worker.answer(sibling).body == b"slept", "the others survive"
        assert worker.get("/").status == 200 and worker.finish() == 0


def test_news_that_arrive_while_the_event_loop_is_blocked(start) -> None:
    """The steward reads the link on behalf of the loop, which must look at what came once it is free."""
    with start("asgi_app") as worker:
        worker.ready()
        id = worker.request(path="/echo", method="POST", flags=frames.HAS_BODY)
        worker.first(id, frames.STARTED)
        blocker = worker.request(path="/block-later", query="0.3")
        worker.wait_for_log("blocking")
        worker.send(worker.body_frames(id, b"body"))
        assert reclaim(worker) == []
        assert not worker.of(blocker, frames.RESPONSE), "the loop was free too early for this test"
        assert worker.answer(id).body == b"body"


def test_a_coroutine_that_is_closed(start) -> None:
    with start("asgi_app") as worker:
        worker.ready()
        answer = worker.get("/closes")
        assert answer.failed == "the coroutine of the request was closed before it had ended"
        assert "closed with GeneratorExit" in worker.errors()
        worker.wait_for_log("resumed")
        assert worker.get("/").status == 200 and worker.finish() == 0
        assert worker.errors().count("was closed before") == 1


def test_a_cancelled_task_may_answer(start) -> None:
    with start("asgi_app") as worker:
        worker.ready()
        id = worker.request(path="/stubborn")
        worker.first(id, frames.STARTED)
        worker.order(frames.INTERRUPT, id)
        assert worker.answer(id).body == b"cancelled"
