"""A worker's life: hello, order to finish, a router that disappears, malformed frames, lifespan."""

from __future__ import annotations

import signal
import struct

import frames
import pytest
from frames import Reader
from harness import PATIENCE, Worker, WorkerGone

PAIRS = [("wsgi_app", {}), ("wsgi_app", {"threads": 3}), ("asgi_app", {})]
KINDS = ["sync", "threads", "async"]


def test_hello(start, python: str) -> None:
    for (app, settings), interface, slots in zip(PAIRS, (0, 0, 1), (1, 3, 1000)):
        with start(app, **settings) as worker:
            worker.ready()
            reader = Reader(worker.hello.payload)
            assert (reader.number("H"), reader.number("B"), reader.number("I")) == (3, interface, slots)
            assert reader.text().decode().startswith("CPython 3.")


@pytest.mark.parametrize("app,settings", PAIRS, ids=KINDS)
def test_finish(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        worker.get("/")
        assert worker.finish() == 0
        assert worker.errors() == ("shut down\n" if app == "asgi_app" else "")


@pytest.mark.ends
@pytest.mark.parametrize("app,settings", PAIRS, ids=KINDS)
@pytest.mark.parametrize("how", ["finish", "terminate"])
def test_finish_waits_for_running_requests(start, app: str, settings: dict, how: str) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        id = worker.request(path="/sleep", query="0.3")
        worker.wait_for_log("sleeping")
        assert getattr(worker, how)() == 0
        assert worker.answer(id).body == b"slept"


@pytest.mark.once
@pytest.mark.parametrize("app,settings", PAIRS, ids=KINDS)
@pytest.mark.parametrize("link", ["data", "control"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_router_disappears(start, app: str, settings: dict, link: str, busy: bool) -> None:
    """A worker without a router must not stay behind, whatever it is doing."""
    if link == "data" and busy and app == "wsgi_app" and not settings:
        pytest.skip("a busy sync worker only watches the control link, which ends with the other")
    with start(app, **settings) as worker:
        worker.ready()
        if busy:
            worker.request(path="/sleep")
            worker.wait_for_log("sleeping")
        socket = getattr(worker, link)
        socket.shutdown(2)
        assert worker.process.wait(PATIENCE) == 1


@pytest.mark.once
@pytest.mark.parametrize("app", ["wsgi_app", "asgi_app"])
@pytest.mark.parametrize("link,data,why", [
    ("data", struct.pack("<IBBHQ", 1 << 20, 1, 0, 0, 1), "frame of 1048576 bytes is larger than the limit"),
    ("data", struct.pack("<IBBHQ", 0, 77, 0, 0, 1), "late"),
    ("data", struct.pack("<IBBHQ", 0, 4, 0, 1, 1), "reserved bytes of the frame header are not zero"),
    ("data", frames.frame(frames.REQUEST, 1, b"\x0b"), "frame kind 1 ends in the middle of a field"),
    ("data", frames.Request().encode(1, 64), "flags 0x40 are not valid for frame kind 1"),
    ("data", frames.Request().encode(1, frames.HAS_BODY) + frames.frame(frames.CREDIT, 1, b"123"), "frame kind 3 ends"),
    ("control", frames.frame(99), "unknown frame kind 99"),
    ("control", frames.frame(frames.FINISH, 0, b"x"), "frame kind 38 has bytes after its last field"),
    ("control", frames.frame(frames.INTERRUPT, 1, flags=1), "flags 0x01 are not valid"),
], ids=["too-large", "unknown", "reserved", "truncated", "flags", "credit", "control", "trailing", "control-flags"])
def test_malformed_frames_end_the_worker(start, app: str, link: str, data: bytes, why: str) -> None:
    """The worker says what was wrong and exits; a stream that lost its frames cannot be found again."""
    with start(app) as worker:
        worker.ready()
        if why == "late":
            # A frame for a request that does not exist is late news, but only if it is a frame at all.
            why = "unknown frame kind 77 on this link"
        getattr(worker, link).send(data)
        assert worker.process.wait(PATIENCE) == 1
        assert f"malformed frame on the {link} link" in worker.errors() and why in worker.errors()


@pytest.mark.once
@pytest.mark.parametrize("app", ["wsgi_app", "asgi_app"])
def test_ctrl_c_is_the_supervisors_business(start, app: str) -> None:
    with start(app) as worker:
        worker.ready()
        worker.process.send_signal(signal.SIGINT)
        assert worker.get("/").status == 200
        worker.process.send_signal(signal.SIGINT)
        assert worker.finish() == 0


def test_what_a_worker_loads(start) -> None:
    """Memory of every worker: an event loop needs 7 MiB (with what it loads for TLS), typing 1, tracemalloc half a one."""
    with start("modules") as worker:
        loaded = set(worker.ready().get("/").body.decode().split())
    assert "serpentry_observer" in loaded
    assert loaded & {"asyncio", "ssl", "typing", "tracemalloc", "logging", "pickle"} == set()


@pytest.mark.once
def test_environment_of_the_application(start) -> None:
    with start("environment") as worker:
        worker.ready()
        lines = worker.get("/").body.decode().splitlines()
        assert lines == [str(worker.directory), "no settings", "links are not inherited"]


@pytest.mark.once
def test_a_forked_child_does_not_keep_the_links(start) -> None:
    with start("wsgi_app") as worker:
        worker.ready()
        worker.get("/fork")
        worker.process.kill()
        with pytest.raises(WorkerGone):
            worker.wait_for(lambda: False, "nothing")


@pytest.mark.once
def test_a_forked_child_that_returns_answers_nothing(start) -> None:
    with start("wsgi_app") as worker:
        worker.ready()
        assert worker.get("/fork-returns").status == 200
        worker.wait_for_log("serpentry worker: cannot")
        assert worker.get("/").status == 200
        assert worker.finish() == 0


LIFESPANS = [
    # module:attribute, mode, what happens
    ("lifespans:silent", "auto", "ready"), ("lifespans:silent", "on", "RuntimeError: no lifespan here"),
    ("lifespans:silent", "off", "ready"), ("lifespans:returns", "auto", "ready"),
    ("lifespans:returns", "on", "returned from its lifespan without startup"),
    ("lifespans:fails", "auto", "the application refused to start: no database"),
    ("lifespans:fails", "off", "ready"), ("lifespans:slow_end", "auto", "ready"),
]


@pytest.mark.once
@pytest.mark.parametrize("app,mode,outcome", LIFESPANS)
def test_lifespan(start, app: str, mode: str, outcome: str) -> None:
    with start(app, lifespan=mode) as worker:
        if outcome == "ready":
            worker.ready()
            assert worker.get("/").body == b"ok"
            assert worker.finish() == 0
            return
        failed = Reader(worker.control_message(frames.BOOT_FAILED).payload)
        message, trace = failed.text().decode(), failed.text().decode()
        assert outcome in message and "\n" not in message
        assert ("in silent\n" in trace) == ("RuntimeError" in outcome)
        assert worker.process.wait(PATIENCE) == 3


@pytest.mark.once
def test_what_is_left_at_the_end(start) -> None:
    """Tasks that outlive the requests are cancelled, generators are closed."""
    with start("lifespans:leaves_tasks") as worker:
        worker.ready()
        worker.get("/")
        assert worker.finish() == 0
        assert worker.errors() == "task cancelled\n"
