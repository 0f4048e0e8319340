"""What the worker tells about itself: an event loop that does not go on, and where it is."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import frames
import pytest
from conftest import has_uvloop
from harness import Worker

SOURCE = (Path(__file__).parent / "apps/observed_app.py").read_text().splitlines()


def line_of(code: str) -> str:
    """`file:line` of the only line that holds `code`."""
    (number,) = [number for number, line in enumerate(SOURCE, 1) if code in line]
    return f"observed_app.py:{number}"


@dataclass
class Blocked:
    episode: int
    over: bool
    milliseconds: int
    waited: int
    native: bool
    place: str
    call: str
    inner: str
    stack: str


def blocked(worker: Worker) -> Blocked:
    """The next word about a blocked loop."""
    message = worker.control_message(frames.BLOCKED)
    reader = frames.Reader(message.payload)
    numbers = reader.number("I"), reader.number("I"), bool(reader.number("B"))
    texts = [reader.text().decode() for _ in range(4)]
    assert not reader.rest
    return Blocked(message.id, message.end, *numbers, *texts)


def episode(worker: Worker, path: str, seconds: float) -> tuple[Blocked, Blocked]:
    """Ask for something that blocks the loop; what is told when that is noticed, and at its end."""
    id = worker.request(path=path, query=str(seconds))
    began, ended = blocked(worker), blocked(worker)
    if not ended.over:  # the interpreter lock was free before the loop went on
        found, ended = ended, blocked(worker)
        ended.place, ended.call = found.place, found.call
    assert worker.answer(id).body == b"done"
    assert (began.over, ended.over, began.episode) == (False, True, ended.episode)
    assert began.milliseconds < ended.milliseconds, "it is told while it lasts"
    # The observer may see the beginning late. A loaded machine adds to it, most of all to what computes.
    assert seconds * 1000 - 300 < ended.milliseconds < seconds * 1000 + (8000 if path == "/compute" else 3000)
    return began, ended


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path,mark,call", [
    ("/block", "# first step", "time.sleep"),
    ("/block-later", "# later step", "time.sleep"),
    ("/inside", "# library", "event.wait"),
    ("/tampered", "# tampered", "time.sleep"),
], ids=["first step", "later step", "library", "tampered"])
def test_a_blocked_loop_is_told_with_its_place(start, python, loop: str, path: str, mark: str, call: str) -> None:
    if loop == "uvloop" and not has_uvloop(python):
        pytest.skip(f"no uvloop for {python}")
    with start("observed_app:app", loop=loop) as worker:
        worker.ready()
        began, _ = episode(worker, path, 0.7)
        assert not began.native
        assert "observed_app.py" in began.stack and "serpentry/" not in began.stack, began.stack
        assert (began.place, began.call) == (line_of(mark), call)
        assert "asleep in" in began.inner, began.inner
        assert ("threading.py:" in began.inner) == (path == "/inside")
        assert worker.finish() == 0


def test_a_loop_that_computes_in_python_is_told(start) -> None:
    with start("observed_app:app") as worker:
        began, _ = episode(worker.ready(), "/compute", 0.7)
        assert began.place.startswith("observed_app.py:") and began.inner.endswith("computing"), began
        assert not began.native


def test_native_code_that_keeps_the_lock_is_told_at_once_and_its_place_when_it_lets_go(start) -> None:
    with start("observed_app:app") as worker:
        began, ended = episode(worker.ready(), "/hold", 1.0)
        assert began.native and not began.place and not began.stack
        assert began.inner.startswith("asleep in"), began.inner
        assert ended.place == line_of("# native"), ended
        assert ended.call == "ctypes.PyDLL(None).usleep"


@pytest.mark.once
def test_requests_that_wait_are_counted_and_what_blocks_need_be_no_request(start) -> None:
    with start("observed_app:app") as worker:
        worker.ready()
        sleeping = [worker.request(path="/sleep", query="0.2") for _ in range(3)]
        blocker = worker.request(path="/block-later", query="1")
        began = blocked(worker)
        late = [worker.request() for _ in range(4)]
        ended = blocked(worker)
        assert (began.waited, ended.waited) == (3, 4), "the second one says how many came after the first"
        for id in (*sleeping, blocker, *late):
            worker.done(id)
        worker.get("/background", query="0.5")
        assert blocked(worker).call in ("Handle._run", "self._context.run")
        assert blocked(worker).over


@pytest.mark.ends
def test_a_loop_with_many_short_steps_is_not_blocked(start) -> None:
    """Each turn of the loop takes 0.2 s, but no step of it more than 2 ms."""
    with start("observed_app:app") as worker:
        worker.ready()
        worker.get("/many", query="1.5")
        worker.get("/block", query="0.5")
        assert blocked(worker).place == line_of("# first step"), "and nothing was told before"


@pytest.mark.once
def test_a_loop_at_rest_is_not_blocked_and_is_watched_again(start) -> None:
    with start("observed_app:app") as worker:
        worker.ready()
        long = worker.request(path="/sleep", query="3")
        worker.done(long)
        # It has gone to sleep for want of anything to do; a stopped process is not a blocked loop either.
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        worker.process.send_signal(signal.SIGCONT)
        worker.get("/")
        episode(worker, "/block", 0.5)
        assert not [order for order in worker.orders if order.kind == frames.BLOCKED]


@pytest.mark.once
def test_what_is_told_is_bounded(start) -> None:
    """More episodes than anybody wants to read."""
    with start("observed_app:app") as worker:
        worker.ready()
        began = time.monotonic()
        ids = [worker.request(path="/block", query="0.15") for _ in range(20)]
        for id in ids:
            worker.done(id)
        seconds = time.monotonic() - began
        told = [order for order in worker.orders if order.kind == frames.BLOCKED and not order.end]
        assert 0 < len(told) <= 5 * (seconds + 1)
