"""Numbers of workers: to zero and back, growing and shrinking, and the operator's scale, stop, start and restart."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from conftest import Starter
from load import Load, in_background, wait_for_progress
from servers import wait_until


def test_from_zero_and_back(start: Starter) -> None:
    """No process at first; the first request waits for one and is answered; idle, it goes back to none; again."""
    host = start({"app": {"workers": {"min": 0, "max": 2, "idle": "2s"}}})
    for _ in range(2):
        assert host.app("app")["state"] == "asleep" and host.processes() == set()
        answers = [in_background(host.address, f"/x{number}", timeout=60) for number in range(4)]
        assert [answer.result(60).status for answer in answers] == [200] * 4
        assert host.app("app")["state"] == "serving"
        host.wait_for_state("app", "asleep", 60)
        host.wait(lambda: not host.processes(), "its processes are gone")
    host.stop()


def test_grows_while_requests_wait_and_shrinks_when_idle(start: Starter) -> None:
    host = start({"app": {"workers": {"min": 1, "max": 3, "idle": "2s"}}})
    with Load(host.address, "/slow?seconds=0.05", clients=8) as load:
        host.wait(lambda: len(host.serving_pids("app")) == 3, "three workers serve", 60, every=0.1)
        wait_for_progress(load, wait_until)
        assert len(host.app("app")["workers"]) == 3, "max is not exceeded"
    host.wait_for_app("app", lambda app: len(app["workers"]) == 1, "one worker is left", 60)
    assert load.failures == []


def test_scale(start: Starter) -> None:
    host = start({"app": {}, "other": {"routes": ["/other"]}}, host={"default_app": "app"})
    first = host.serving_pids("app")
    with Load(host.address, "/x", clients=4) as load:
        for workers in (4, 1, 2):
            host.do("scale", "app", str(workers))
            host.wait(lambda n=workers: len(host.serving_pids("app")) == n, f"{workers} serve", 60, every=0.1)
            assert host.app("app")["target"] == workers
    assert load.failures == []
    assert set(first) <= set(host.serving_pids("app")), "the youngest go first"
    assert len(host.serving_pids("other")) == 1


def test_scale_to_nonsense(start: Starter) -> None:
    host = start({"app": {}})
    assert host.run("scale", "app", "-1").returncode == 2
    assert host.run("scale", "app", "many").returncode == 2
    assert host.run("scale", "app", "100000").returncode in (1, 2)
    unknown = host.run("scale", "nobody", "2")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr
    assert len(host.serving_pids("app")) == 1


def test_stop_and_start(start: Starter) -> None:
    """Stopped: 503 with Retry-After and no process; running requests finish; started: it serves again."""
    host = start({"app": {"routes": ["/app"]}, "other": {"routes": ["/other"]}})
    answer = in_background(host.address, "/app/wait?for=go", timeout=60)
    host.wait(lambda: "waiting" in host.events(), "a request is inside")
    host.do("stop", "app")
    refused = host.fetch("/app/x")
    assert refused.status == 503 and int(refused.get("retry-after") or 0) >= 1
    assert b"stopped" in refused.body
    (host.folder / "go").touch()
    assert answer.result(30).status == 200
    host.wait_for_state("app", "stopped")
    host.wait(lambda: len(host.processes()) == 1, "its process is gone")
    assert host.facts("/other")["app"] == "other"
    host.do("start", "app")
    assert host.facts("/app/x")["app"] == "app"
    assert host.app("app")["state"] == "serving"


def test_restart_is_without_loss(start: Starter) -> None:
    host = start({"app": {"workers": 2}})
    before = host.serving_pids("app")
    with Load(host.address, "/x", clients=4) as load:
        wait_for_progress(load, wait_until)
        host.do("restart", "app")
        wait_for_progress(load, wait_until)
    assert load.failures == []
    assert not set(before) & set(host.serving_pids("app"))
    assert host.app("app")["generation"] == 2


def test_of_two_restarts_at_once_the_later_one_counts(start: Starter) -> None:
    """The first is told that it was overtaken; the second is answered when its workers serve, not before."""
    host = start({"app": {"app": "bad:app", "env": {"HOW": "slow"}}})
    with ThreadPoolExecutor(1) as background:
        first = background.submit(host.run, "restart", "app")
        host.wait(lambda: len(host.app("app")["workers"]) == 2, "the first restart boots a worker", 60)
        second = host.run("restart", "app")
        assert second.returncode == 0, second.stderr
        assert host.app("app")["generation"] == 3
        overtaken = first.result(60)
    assert overtaken.returncode == 1 and "another reload came before" in overtaken.stderr, overtaken.stderr


def test_stop_without_a_name_stops_the_host(start: Starter) -> None:
    host = start({"app": {}})
    host.do("stop")
    assert host.child.wait(30) == 0
    assert host.processes() == set()


def test_a_killed_worker_is_replaced_and_its_request_runs_again(start: Starter) -> None:
    host = start({"app": {"workers": 2}})
    with Load(host.address, "/slow?seconds=0.02", clients=6) as load:
        for _ in range(3):
            wait_for_progress(load, wait_until, more=20)
            os.kill(host.serving_pids("app")[0], signal.SIGKILL)
            host.wait(lambda: len(host.serving_pids("app")) == 2, "two workers serve again", 60, every=0.1)
    assert load.failures == []
    status = host.app("app")
    assert status["respawns"] == 3
    assert status["requests"]["failed"] == 0 and status["requests"]["replayed"] >= 1


def test_a_worker_that_grows_is_replaced(start: Starter) -> None:
    """recycle_memory: between requests, and no request is lost."""
    host = start({"app": {"recycle_memory": "100MiB"}})
    before = host.facts("/x")["pid"]
    with Load(host.address, "/x", clients=2) as load:
        assert host.facts("/grow?mib=150")["pid"] == before
        host.wait(lambda: before not in host.serving_pids("app"), "the worker is replaced", 60, every=0.1)
        wait_for_progress(load, wait_until)
    assert load.failures == []
    assert host.facts("/x")["pid"] != before


def test_preload_imports_once(start: Starter) -> None:
    """Workers are forked from one process that imported the application; a killed one is replaced from it too."""
    host = start({"app": {"preload": True, "workers": 2}})
    with Load(host.address, "/x", clients=4) as load:
        wait_for_progress(load, wait_until)
    answers = [host.facts("/x") for _ in range(6)]
    importers = {answer["imported_by"] for answer in answers}
    assert len(importers) == 1
    assert not importers & set(host.serving_pids("app")), "the template itself serves nothing"
    old = host.serving_pids("app")
    os.kill(old[0], signal.SIGKILL)
    host.wait(lambda: len(set(host.serving_pids("app")) - {old[0]}) == 2, "it is replaced", 60, every=0.1)
    assert {host.facts("/x")["imported_by"] for _ in range(6)} == importers
    host.stop()
