"""What a worker says its requests take. The machine may be busy: what computes takes at least its time, what sleeps takes
little, and waiting is never less than was slept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import frames
import pytest
from harness import Worker

MS = 1000


@pytest.fixture(scope="module")
def sync(start: Callable[..., Worker]) -> Iterator[Worker]:
    with start("costs:wsgi", concurrency="sync") as worker:
        yield worker.ready()


@pytest.fixture(scope="module")
def loop(start: Callable[..., Worker]) -> Iterator[Worker]:
    with start("costs:asgi", interface="asgi", lifespan="off") as worker:
        yield worker.ready()


@pytest.mark.parametrize(("path", "cpu", "slept"), [
    ("/hello", 0, 0), ("/burn", 30, 0), ("/sleep", 0, 60), ("/both", 30, 60), ("/fail", 30, 0), ("/late", 30, 0),
])
def test_sync(sync: Worker, path: str, cpu: int, slept: int) -> None:
    spent = sync.get(path).spent
    assert spent is not None
    assert cpu * MS - 300 <= spent.cpu <= cpu * MS + 12 * MS, spent
    assert spent.wall >= (cpu + slept) * MS - 300
    assert spent.gil is not None
    if spent.wall >= 2 * MS:
        assert spent.run_queue is not None
        assert spent.wall - spent.cpu - spent.run_queue - spent.gil >= slept * MS - 2500, spent


def test_a_stream_says_it_at_its_end(sync: Worker) -> None:
    messages = sync.done(sync.request(path="/stream"))
    assert messages[0].kind == frames.RESPONSE and messages[0].spent is not None, "for the head"
    assert messages[-1].spent is not None and messages[-1].spent.wall >= messages[0].spent.wall


def test_many_small_requests_add_up(sync: Worker) -> None:
    """Between two readings of the clock the figures are estimates: they must not drift."""
    ids = [sync.request(path="/hello") for _ in range(2000)]
    spent = [sync.answer(id).spent for id in ids]
    assert all(one is not None and one.cpu <= one.wall for one in spent)
    cpu, wall = sum(one.cpu for one in spent), sum(one.wall for one in spent)
    assert 0 < cpu <= wall


def test_threads_wait_for_the_lock(start: Callable[..., Worker]) -> None:
    """One thread computes; requests on the others have to ask for the lock, a switch interval (5 ms) each time."""
    with start("costs:wsgi", concurrency="threads", threads=4) as worker:
        worker.ready()
        hog = worker.request(path="/hog")
        waited = []
        while not any(message.done for message in worker.of(hog)):
            waited.append(worker.get("/hello").spent)
        assert worker.answer(hog).spent.cpu >= 399 * MS
        # The first one may have come before the computing began, the last one after.
        delayed = [one for one in waited if one.gil >= 4 * MS]
        assert len(delayed) >= 3, waited
        assert all(one.gil <= one.wall and one.cpu < one.gil for one in delayed), waited


@pytest.mark.parametrize(("path", "query", "cpu", "slept"), [
    ("/hello", "", 0, 0), ("/burn", "", 30, 0), ("/burn", "x", 30, 0), ("/steps", "", 30, 60), ("/sleep", "", 0, 60),
    ("/cancelled", "", 20, 10), ("/fail", "", 30, 1), ("/after", "", 30, 10),
])
def test_steps_of_a_task(loop: Worker, path: str, query: str, cpu: int, slept: int) -> None:
    spent = loop.get(path, query=query).spent
    assert spent is not None and spent.gil is None
    assert cpu * MS - 900 <= spent.cpu <= cpu * MS + 12 * MS, spent
    assert spent.wall >= (cpu + slept) * MS - 900, spent


def test_tasks_that_take_turns_do_not_pay_for_each_other(loop: Worker) -> None:
    sleeping = [loop.request(path="/sleep") for _ in range(20)]
    burning = [loop.request(path="/steps") for _ in range(3)]
    assert all(loop.answer(id).spent.cpu < 12 * MS for id in sleeping)
    assert all(29 * MS <= loop.answer(id).spent.cpu <= 45 * MS for id in burning)


@pytest.mark.parametrize("app", ["returns_nothing", "not_awaitable"])
def test_what_cannot_be_awaited_fails_as_before(start: Callable[..., Worker], app: str) -> None:
    with start(f"costs:{app}", interface="asgi", lifespan="off") as worker:
        failed = worker.ready().get("/").failed
        assert failed is not None
        assert ("without a response" if app == "returns_nothing" else "await") in failed
