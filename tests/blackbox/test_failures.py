"""Workers that are killed, crash or hang while they serve: nothing repeatable is lost, nothing runs twice.

The replay rule: a request that had not begun to be answered and is safe to repeat runs again, once, on
another worker; a POST that Python has started never does and is answered 502 (504 when it hung).
No peer promises this; what they can do (replace a dead worker) is tested for them too.
"""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Launcher, Running
from load import Load, in_background, wait_for_progress
from rawhttp import Truncated, request_bytes
from servers import memory, wait_until

HOWS = ["exit", "segfault", "kill"]


def start(launch: Launcher, either: tuple[str, str], **options: object) -> Running:
    return launch(f"life:{either[0]}", interface=either[0], mode=either[1], **options)


def one_worker_killed(server: Running) -> None:
    victims = server.worker_pids()
    if victims:
        os.kill(victims[0], signal.SIGKILL)


def replaced(server: Running, before: set[int]) -> None:
    """Wait until as many workers as configured run and none of `before` is left."""
    wait_until(
        lambda: (
            len(server.worker_pids()) == server.options.workers and not before & set(server.worker_pids())
        ),
        20,
        "the worker is replaced",
    )


def test_killed_worker_is_replaced(launch: Launcher, either: tuple[str, str]) -> None:
    server = start(launch, either, workers=2)
    before = set(server.worker_pids())
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(server.worker_pids()) == 2 and victim not in server.worker_pids(), 20, "replaced")
    assert server.fetch("/").body == b"ok"


def test_kills_under_load_fail_no_repeatable_request(launch: Launcher, either: tuple[str, str]) -> None:
    server = start(launch, either, workers=3)
    with Load(server.address) as load:
        wait_for_progress(load, wait_until)
        for _ in range(6):
            one_worker_killed(server)
            wait_for_progress(load, wait_until, 200)
            time.sleep(0.5)  # one kill each half second: the load itself is what is measured
    assert load.failures == []
    assert load.done > 1000


@pytest.mark.serpentry_only
def test_all_workers_killed_at_once_answers_everybody(launch: Launcher, either: tuple[str, str]) -> None:
    """A request whose second worker is killed too has had its one repetition: 502, never a cut connection."""
    server = start(launch, either, workers=2)
    with Load(server.address) as load:
        wait_for_progress(load, wait_until)
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_for_progress(load, wait_until, 200)
    assert len(load.failures) <= load.clients
    assert not [failure for failure in load.failures if not failure.startswith("status 502")]


def test_no_post_runs_twice(launch: Launcher, either: tuple[str, str]) -> None:
    server = start(launch, either, workers=2)

    def post(number: int) -> int:
        try:
            return server.fetch(f"/run?tag=post-{number}&seconds=0.02", "POST", body=b"x").status
        except (Truncated, OSError):
            return 0

    with ThreadPoolExecutor(9) as pool:
        futures = [pool.submit(post, number) for number in range(300)]
        for done in (30, 120, 210):
            wait_until(lambda count=done: sum(future.done() for future in futures) >= count, 30, "posts")
            one_worker_killed(server)
        statuses = [future.result() for future in futures]
    runs = [line for line in server.events() if line.startswith("run post-")]
    assert len(runs) == len(set(runs)), "a POST ran twice"
    if server.name == "serpentry":
        assert set(statuses) <= {200, 502, 503}, "every POST is answered"
        assert statuses.count(200) >= 300 - 3 * 9
    for number, status in enumerate(statuses):
        if status == 200:
            assert f"run post-{number}" in runs


@pytest.mark.serpentry_only
@pytest.mark.parametrize("how", HOWS)
def test_get_that_kills_its_worker_once_runs_again(
    launch: Launcher, either: tuple[str, str], how: str
) -> None:
    server = start(launch, either, workers=1)
    before = set(server.worker_pids())
    response = server.fetch(f"/die-once?tag=again&how={how}", timeout=20)
    assert (response.status, response.body) == (200, b"survived")
    assert server.events().count("run again") == 2
    replaced(server, before)


@pytest.mark.serpentry_only
@pytest.mark.parametrize("method, runs", [("GET", 2), ("PUT", 2), ("DELETE", 2), ("POST", 1), ("PATCH", 1)])
def test_request_that_always_kills_is_502(launch: Launcher, method: str, runs: int) -> None:
    server = launch("life:wsgi", interface="wsgi", workers=1)
    response = server.fetch(
        "/die?tag=always&how=exit",
        method,
        body=b"x" if method in ("PUT", "POST", "PATCH") else b"",
        timeout=30,
    )
    assert response.status == 502
    assert server.events().count("run always") == runs
    assert wait_until(lambda: server.fetch("/", timeout=20).status == 200, 30, "it serves again")


@pytest.mark.serpentry_only
@pytest.mark.parametrize("how", HOWS)
def test_post_that_kills_its_worker_is_502(launch: Launcher, either: tuple[str, str], how: str) -> None:
    server = start(launch, either, workers=2)
    assert server.fetch(f"/die?tag=once&how={how}", "POST", body=b"x", timeout=20).status == 502
    assert server.events().count("run once") == 1
    assert server.fetch("/").body == b"ok"


@pytest.mark.serpentry_only
def test_waiting_post_survives_the_death_of_the_worker_it_waits_for(launch: Launcher) -> None:
    """A POST that Python has not started is not lost and not refused: it has run nowhere."""
    server = launch("life:wsgi", interface="wsgi", mode="sync", workers=1)
    first = in_background(server.address, "/run?tag=first&seconds=20", method="POST", timeout=40)
    server.wait_for_event("run first")
    second = in_background(server.address, "/run?tag=second", method="POST", timeout=40)
    time.sleep(0.2)  # nothing outside shows that the second one waits in the queue
    one_worker_killed(server)
    assert first.result(30).status == 502
    assert second.result(30).status == 200
    assert [server.events().count(f"run {tag}") for tag in ("first", "second")] == [1, 1]


@pytest.mark.serpentry_only
def test_death_in_mid_response_cuts_the_connection(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", workers=1, timeout=30)
    with server.connect() as connection:
        connection.send(request_bytes("GET", "/hang-midway?tag=cut"))
        assert connection.read_start().status == 200
        assert connection.read_chunk() == b"first"
        server.wait_for_event("hangs cut")
        one_worker_killed(server)
        with pytest.raises(Truncated):
            connection.read_chunk()


@pytest.mark.serpentry_only
@pytest.mark.parametrize("how", ["python", "c", "c-with-gil"])
@pytest.mark.parametrize("mode", ["sync", "threads"])
def test_hung_request_is_504_and_its_siblings_are_fine(launch: Launcher, how: str, mode: str) -> None:
    server = launch("life:wsgi", interface="wsgi", mode=mode, workers=2, timeout=2)
    before = set(server.worker_pids())
    with Load(server.address, clients=3) as load:
        wait_for_progress(load, wait_until)
        started = time.monotonic()
        response = server.fetch(f"/hang?how={how}&tag={how}", "POST", body=b"x", timeout=15)
        took = time.monotonic() - started
        wait_for_progress(load, wait_until)
    assert response.status == 504 and 1.5 < took < 6
    assert load.failures == []
    wait_until(lambda: len(server.worker_pids()) == 2, 20, "two workers")
    if how == "python":
        wait_until(
            lambda: [line for line in server.events() if line.startswith("hang python ended by")],
            10,
            "the exception in the thread",
        )
    else:
        wait_until(
            lambda: len(before & set(server.worker_pids())) == 1, 20, "only the hung worker was replaced"
        )


@pytest.mark.serpentry_only
def test_hang_leaves_the_stack_of_the_stuck_code(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", mode="sync", workers=1, timeout=1)
    assert (
        server.fetch("/hang?how=python&tag=stack", "POST", headers={"X-Request-ID": "the-stuck-one"}).status
        == 504
    )
    server.wait_for_log("the-stuck-one")
    server.wait_for_log(r"life\.py\W+line \d+,? in hang")


@pytest.mark.serpentry_only
def test_timeout_cancels_an_async_request(launch: Launcher) -> None:
    server = launch("life:asgi", interface="asgi", workers=1, timeout=1)
    before = server.worker_pids()
    with Load(server.address, clients=2) as load:
        response = server.fetch("/hang?how=await&tag=await", "POST", timeout=10)
        wait_for_progress(load, wait_until)
    assert response.status == 504 and load.failures == []
    server.wait_for_event("cancelled await")
    assert server.worker_pids() == before, "the worker goes on"


@pytest.mark.serpentry_only
@pytest.mark.parametrize("how", ["c", "c-with-gil"])
def test_blocked_event_loop_is_504_and_replaced(launch: Launcher, how: str) -> None:
    server = launch("life:asgi", interface="asgi", workers=2, timeout=2)
    before = set(server.worker_pids())
    response = server.fetch(f"/hang?how={how}&tag={how}", "POST", timeout=15)
    assert response.status == 504
    wait_until(
        lambda: len(before & set(server.worker_pids())) == 1 and len(server.worker_pids()) == 2,
        20,
        "replaced",
    )
    with Load(server.address) as load:
        wait_for_progress(load, wait_until)
    assert load.failures == []


@pytest.mark.serpentry_only
def test_timeout_zero_is_none(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", timeout=0)
    assert server.fetch("/sleep?seconds=2").status == 200


@pytest.mark.serpentry_only
def test_full_queue_is_503_with_retry_after(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", mode="sync", workers=1, queue=2)
    pending = [in_background(server.address, "/sleep?seconds=2")]
    server.wait_for_event("sleeping")
    pending += [in_background(server.address, "/") for _ in range(6)]
    responses = [future.result(15) for future in pending]
    refused = [response for response in responses if response.status == 503]
    # One runs and two wait; a fourth may have been handed to the worker just before it turned slow.
    assert len(refused) in (3, 4), [response.status for response in responses]
    assert all(int(response.get("Retry-After")) > 0 for response in refused)
    assert len([response for response in responses if response.status == 200]) == 7 - len(refused)


@pytest.mark.serpentry_only
def test_waiting_too_long_is_503_with_retry_after(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", mode="sync", workers=1, queue_timeout=1)
    slow = in_background(server.address, "/sleep?seconds=3")
    server.wait_for_event("sleeping")
    started = time.monotonic()
    response = server.fetch("/")
    assert response.status == 503 and int(response.get("Retry-After")) > 0
    assert 0.8 < time.monotonic() - started < 2.5
    assert slow.result(10).status == 200


@pytest.mark.serpentry_only
def test_client_that_leaves_gives_its_place_in_the_queue_back(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", mode="sync", workers=1)
    slow = in_background(server.address, "/sleep?seconds=1")
    server.wait_for_event("sleeping")
    with server.connect() as connection:
        connection.send(request_bytes("GET", "/run?tag=abandoned"))
    assert slow.result(10).status == 200
    assert server.fetch("/").status == 200
    assert "run abandoned" not in server.events()


@pytest.mark.serpentry_only
def test_one_queue_for_all_workers(launch: Launcher) -> None:
    """With one worker asleep, quick requests all go to the other: none waits behind the sleeper."""
    server = launch("life:wsgi", interface="wsgi", mode="sync", workers=2)
    slow = in_background(server.address, "/sleep?seconds=2")
    server.wait_for_event("sleeping")
    started = time.monotonic()
    with server.connect() as connection:
        for _ in range(100):
            assert connection.send(request_bytes("GET", "/")).read_response().status == 200
    assert time.monotonic() - started < 1
    assert slow.result(10).status == 200


@pytest.mark.serpentry_only
def test_repeated_deaths_do_not_grow_the_host(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", workers=1)
    base = memory(server.pid)
    for number in range(3):
        server.fetch(f"/die-once?tag=grow{number}&how=kill", timeout=30)
    assert memory(server.pid) - base < 4 * 1024 * 1024


@pytest.mark.serpentry_only
def test_dead_worker_is_named_in_the_log(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", workers=1)
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    server.wait_for_log(rf"\b{pid}\b.*({re.escape('SIGKILL')}|signal 9|killed)")
