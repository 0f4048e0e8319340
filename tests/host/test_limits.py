"""What the router enforces for each application: queue, deadlines, sizes, connections, the retry budget."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from concurrent.futures import Future

import pytest
from conftest import APPS, ROOT_ONLY, Starter, TestHost, missing
from load import in_background
from rawhttp import Connection, Response, request_bytes


def inside(host: TestHost, count: int, path: str = "/wait?for=go") -> list[Future[Response]]:
    """So many requests that have begun to run and wait for FOLDER/go."""
    answers = [in_background(host.address, path, timeout=60) for _ in range(count)]
    host.wait(lambda: host.events().count("waiting") >= count, f"{count} requests are inside", 60)
    return answers


def test_queue_full(start: Starter) -> None:
    """One runs, two wait; more are refused at once, with a time to come back, and the three are answered."""
    host = start({"app": {"limits": {"queue": 2}}, "other": {"routes": ["/other"]}}, host={"default_app": "app"})
    first = inside(host, 1)
    waiting = [in_background(host.address, "/x", timeout=60) for _ in range(2)]
    host.wait_for_app("app", lambda app: app["queue"]["depth"] == 2, "two requests wait")
    began = time.monotonic()
    refused = host.fetch("/x")
    assert refused.status == 503 and b"N11" in refused.body
    assert 1 <= int(refused.get("retry-after") or 0) <= 30
    assert time.monotonic() - began < 5, "refused at once"
    assert host.facts("/other")["app"] == "other", "the queue of one is not the queue of another"
    (host.folder / "go").touch()
    assert [answer.result(30).status for answer in first + waiting] == [200] * 3
    assert host.app("app")["requests"]["failed"] == 1


def test_queue_timeout(start: Starter) -> None:
    host = start({"app": {"limits": {"queue_timeout": "500ms"}}})
    first = inside(host, 1)
    late = host.fetch("/x", timeout=30)
    assert late.status == 503 and b"N12" in late.body and late.get("retry-after") is not None
    (host.folder / "go").touch()
    assert first[0].result(30).status == 200


def test_connections(start: Starter) -> None:
    """Of one application: the third is told so and closed; another application takes it."""
    apps = {"app": {"routes": ["/app"], "limits": {"connections": 2}}, "other": {"routes": ["/other"]}}
    host = start(apps)
    with Connection(host.address) as one, Connection(host.address) as two:
        for connection in (one, two):
            assert connection.send(request_bytes("GET", "/app/x")).read_response().status == 200
        refused = host.fetch("/app/x")
        assert refused.status == 503 and b"N10" in refused.body and refused.get("retry-after") is not None
        assert host.facts("/other/x")["app"] == "other"
        assert one.send(request_bytes("GET", "/app/x")).read_response().status == 200


def test_overrides(start: Starter) -> None:
    """Other limits below a path of the application, which is mounted below a prefix itself."""
    app = {
        "routes": ["/app"],
        "limits": {"request_timeout": "400ms", "body_size": "1KiB"},
        "overrides": [
            {"prefix": "/slow", "request_timeout": "none"},
            {"prefix": "/upload", "body_size": "4KiB"},
        ],
        "workers": 2,
    }
    host = start({"app": app})
    timed_out = host.fetch("/app/wait?for=never", timeout=30)
    assert timed_out.status == 504 and b"N20" in timed_out.body
    assert host.facts("/app/slow?seconds=1")["app"] == "app"
    body = b"x" * 3000
    assert host.fetch("/app/x", method="POST", body=body).status == 413
    assert host.fetch("/app/uploads", method="POST", body=body).status == 413, "prefixes are whole segments"
    assert host.facts("/app/upload/now", method="POST", body=body)["path"] == "/upload/now"
    assert host.fetch("/app/upload", method="POST", body=b"x" * 5000).status == 413


def test_first_byte_timeout(start: Starter) -> None:
    host = start({"app": {"workers": 2, "limits": {"first_byte_timeout": "400ms"}}})
    late = host.fetch("/slow?seconds=20", timeout=30)
    assert late.status == 504 and b"N20" in late.body
    assert host.facts("/slow?seconds=0")["app"] == "app"


@pytest.mark.parametrize("budget", [0.1, 1.0])
def test_retry_budget(start: Starter, budget: float) -> None:
    """A worker dies with 30 requests: as many run again as the budget allows (never fewer than its floor)."""
    app = {"concurrency": "threads", "threads": 32, "workers": 1, "retry_budget": budget}
    host = start({"app": app})
    answers = inside(host, 30)
    os.kill(host.serving_pids("app")[0], signal.SIGKILL)
    (host.folder / "go").touch()
    statuses = sorted(answer.result(60).status for answer in answers)
    assert set(statuses) <= {200, 502}, statuses
    replayed = host.app("app")["requests"]["replayed"]
    if budget == 1.0:
        assert statuses == [200] * 30 and replayed == 30
    else:
        assert 1 <= statuses.count(200) == replayed <= 15, statuses


def test_a_request_runs_again_once_only(start: Starter) -> None:
    """A request that ends every worker it meets is answered 502 after the second."""
    host = start({"app": {}})
    before = host.facts("/x")["pid"]
    poison = host.fetch("/exit", timeout=60)
    assert poison.status == 502 and b"incident: A21-" in poison.body
    host.wait_for_app("app", lambda app: app["respawns"] >= 2, "two workers were replaced", 60)
    assert host.app("app")["requests"]["replayed"] == 1
    answer = host.fetch("/x", timeout=60)
    assert answer.status == 200 and json.loads(answer.body)["pid"] != before


def test_a_started_post_is_not_run_again(start: Starter) -> None:
    host = start({"app": {"workers": 2}})
    answer = in_background(host.address, "/wait?for=never", method="POST", body=b"x", timeout=60)
    host.wait(lambda: "waiting" in host.events(), "it is inside")
    for pid in host.serving_pids("app"):
        os.kill(pid, signal.SIGKILL)
    assert answer.result(60).status == 502
    assert host.events().count("waiting") == 1


@ROOT_ONLY
def test_partly_enforced(start: Starter) -> None:
    """Code in memory has no disk: the rate holds for the disk of the data, and that it leaves the code out is told."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        shutil.copy(f"{APPS}/plain.py", memory)
        app = {"directory": memory, "limits": {"disk_read": "10MiB/s"}}
        host = start({"app": app, "other": {"routes": ["/other"]}}, host={"default_app": "app"})
        status = host.app("app")
        missing(host, "disk_read")
        told = [it["why"] for it in status["partly_enforced"] if it["constraint"] == "disk_read"]
        assert told == [f"{memory} is on tmpfs, which has no disk of its own"]
        assert "app: `disk_read` is enforced here only in part: " in host.output()
        assert host.app("other")["partly_enforced"] == []
        strict = start({"app": {**app, "enforce": "strict"}})
        assert strict.facts("/")["app"] == "app"
