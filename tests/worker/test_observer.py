"""What the worker tells about itself: an event loop that does not go on, durable writes, and what it is told to look at."""

from __future__ import annotations

import asyncio
import importlib.util
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import frames
import pytest
from conftest import has_uvloop
from harness import HERE, PATIENCE, Worker

APPS = Path(__file__).parent / "apps"


def line_of(code: str, file: str = "observed_app.py") -> str:
    """`file:line` of the only line that holds `code`."""
    (number,) = [number for number, line in enumerate((APPS / file).read_text().splitlines(), 1) if code in line]
    return f"{file}:{number}"


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
def test_two_steps_of_one_task_are_not_taken_for_one() -> None:
    spec = importlib.util.spec_from_file_location("observer", HERE.parents[1] / "crates/worker/python/observer.py")
    observer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(observer)
    reached, go = threading.Semaphore(0), threading.Semaphore(0)

    async def task() -> None:
        for _ in range(2):
            reached.release()
            go.acquire()  # blocks the loop
            await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(task()))
    thread.start()
    try:
        assert reached.acquire(timeout=PATIENCE)
        looks = [observer.blocked(thread.ident, False) for _ in range(2)]
        assert looks[0] is None and looks[1] is not None, "the same step, seen twice"
        go.release()
        assert reached.acquire(timeout=PATIENCE)
        assert observer.blocked(thread.ident, False) is None, "the same frame of the same task in its next step"
        assert observer.blocked(thread.ident, False) is not None
    finally:
        go.release(2)
        thread.join(PATIENCE)


@pytest.mark.once
def test_a_loop_at_rest_is_not_blocked_and_is_watched_again(start) -> None:
    with start("observed_app:app") as worker:
        worker.ready()
        long = worker.request(path="/sleep", query="3")
        worker.done(long)
        time.sleep(1.5)  # the observer sleeps when nothing has happened for a second
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
        assert 0 < len(told) <= 2 * (seconds + 1) < 20


DISK = pytest.mark.parametrize("app,settings", [("durable_app:app", {}), ("durable_app:app", {"threads": 3}),
                                                ("durable_app:asgi", {})], ids=["sync", "threads", "async"])


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(APPS / "slow_disk"))


@dataclass
class Durable:
    event_loop: bool
    count: int
    microseconds: int
    percent: int
    place: str
    call: str
    stack: str


def durable(worker: Worker) -> Durable:
    reader = frames.Reader(worker.control_message(frames.DURABLE).payload)
    numbers = bool(reader.number("B")), reader.number("I"), reader.number("I"), reader.number("B")
    texts = [reader.text().decode() for _ in range(3)]
    assert not reader.rest
    return Durable(*numbers, *texts)


@DISK
@pytest.mark.parametrize("path,mark,call", [
    ("/write", "# in a function", "os.fdatasync"),
    ("/log", "# in the handler", "os.fsync in a durable_app.DurableHandler"),
], ids=["write", "log"])
@pytest.mark.ends
def test_durable_writes_are_told_with_their_place(start, slow_disk, app: str, settings: dict, path: str, mark: str,
                                                  call: str) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        for _ in range(10):
            assert worker.get(path, query="5").body == b"ok"
        told = durable(worker)
        assert (told.place, told.call) == (line_of(mark, "durable_app.py"), call)
        assert told.event_loop == app.endswith("asgi")
        # On a loaded machine a sleep of 10 ms takes longer, and so does all else.
        assert told.count >= 3 and 10_000 <= told.microseconds < 1_000_000
        assert 20 <= told.percent <= 100 and "durable_app.py" in told.stack


@DISK
@pytest.mark.once
def test_durable_writes_that_do_not_matter_are_not_told(start, slow_disk, app: str, settings: dict) -> None:
    """Few among much other work, and those that no request waits for on its own thread."""
    with start(app, **settings) as worker:
        worker.ready()
        worker.get("/write", query="2")
        for _ in range(3):
            worker.get("/work", query="80")
        worker.get("/elsewhere", query="20")
        time.sleep(2.5)
        worker.get("/")
        assert not [order for order in worker.orders if order.kind == frames.DURABLE]


@pytest.mark.ends
def test_the_measured_functions_are_like_the_originals(start, python: str) -> None:
    plain = subprocess.run([python, "-c", "import durable_app; print(durable_app.act('/same', ''))"], cwd=APPS,
                           capture_output=True, text=True, check=True).stdout.strip()
    for app in ("durable_app:app", "durable_app:asgi"):
        with start(app) as worker:
            assert worker.ready().get("/same").body.decode() == plain
            assert worker.get("/write", query="1").body == b"ok"


def seen(worker: Worker, what: int, seconds: int = 0, id: int = 7) -> tuple[bool, str]:
    worker.order(frames.LOOK, id, payload=struct.pack("<BH", what, seconds))
    message = worker.control_message(frames.SEEN)
    assert message.id == id
    return message.end, frames.Reader(message.payload).text().decode()


@DISK
@pytest.mark.ends
def test_stacks_on_demand(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        id = worker.request(path="/work", query="100")
        deadline = time.monotonic() + 10
        while "in act" not in (text := seen(worker, 0)[1]):
            assert time.monotonic() < deadline, text
        assert "time.sleep(0.01)" in text and "serpentry/" not in text, text
        assert worker.answer(id).body == b"ok"


@DISK
@pytest.mark.ends
def test_lines_that_allocate_on_demand(start, app: str, settings: dict) -> None:
    with start(app, **settings) as worker:
        worker.ready()
        worker.order(frames.LOOK, 7, payload=struct.pack("<BH", 1, 2))
        deadline = time.monotonic() + 1
        assert seen(worker, 1, 1, id=8) == (False, "its memory is being traced already")
        while time.monotonic() < deadline:
            worker.get("/grow", query="100")
        message = worker.control_message(frames.SEEN)
        first = frames.Reader(message.payload).text().decode().splitlines()[0]
        assert message.id == 7 and message.end
        assert first.startswith(line_of("# grows", "durable_app.py") + " +") and " KiB, " in first, first
        assert seen(worker, 1, 1)[0], "and again"
