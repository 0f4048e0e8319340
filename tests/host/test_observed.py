"""What workers see inside of themselves, as the operator reads it: blocked event loops, durable writes."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest
from any_user import reachable_python
from conftest import APPS, ROOT, ROOT_ONLY, Starter, TestHost, missing
from load import in_background

# What the application has beside its code, by tenancy.
PLACES: dict[str, dict[str, Any]] = {
    "shared": {},
    "isolated": {
        "tenancy": "isolated",
        "python": reachable_python(),
        "limits": {"cpu": 0.5, "memory": "128MiB", "disk_space": "none"},
    },
}
SOURCE = (APPS / "blocking.py").read_text().splitlines()


def line_of(code: str) -> str:
    (number,) = [number for number, line in enumerate(SOURCE, 1) if code in line]
    return f"blocking.py:{number}"


def incidents(host: TestHost, code: str) -> list[dict[str, Any]]:
    found = json.loads(host.do("why", "--json"))
    return [incident for incident in found if incident["code"] == code]


def incident(host: TestHost, code: str, condition: str = "True") -> dict[str, Any]:
    """The first incident of that code whose `evidence` fulfils the condition, in time."""
    def find() -> list[dict[str, Any]]:
        return [it for it in incidents(host, code) if eval(condition, {"evidence": it["evidence"]})]

    found: list[dict[str, Any]] = host.wait(find, f"an incident {code} with {condition}")
    return found[0]


@pytest.mark.parametrize("place", ["shared", pytest.param("isolated", marks=ROOT_ONLY)])
@pytest.mark.parametrize("path,cause,code", [
    ("/block", "heartbeat", "time.sleep(seconds)"),
    ("/hold", "native", "ctypes.PyDLL(None).usleep"),
])
def test_a_blocked_event_loop_is_an_incident_while_it_lasts(
    start: Starter, path: str, cause: str, code: str, place: str
) -> None:
    """Of the application that did it, and of no other; also from a room that sees nothing of the host."""
    slow = {"app": "blocking:asgi", "routes": ["/"], **PLACES[place]}
    apps = {"slow": slow, "other": {"app": "blocking:asgi", "routes": ["/other"]}}
    host = start(apps)
    missing(host, "namespaces", "slow")
    assert host.fetch("/").status == host.fetch("/other").status == 200
    began = time.time()
    answer = in_background(host.address, f"{path}?seconds=4", timeout=60)
    found = incident(host, "C21")
    assert not answer.done(), "it is known while the loop is blocked"
    noticed = datetime.fromisoformat(found["at"]).timestamp() - began
    assert 0 < noticed < 2, "a loaded machine adds to it"
    waiting = in_background(host.address, "/", timeout=60)
    assert answer.result(30).status == waiting.result(30).status == 200
    ended = incident(host, "C21", "evidence['blocked_ms'] > 3800 and evidence.get('place')")
    assert (ended["app"], ended["cause"], ended["count"]) == ("slow", cause, 1)
    assert ended["evidence"]["place"] == line_of(code)
    assert ended["evidence"]["call"] == code.split("(seconds")[0]
    assert ended["evidence"]["waited"] >= 1 and ended["worker_pid"]
    assert ended["evidence"]["blocked_ms"] < 10_000
    assert f"at {line_of(code)}" in ended["sentence"]
    print(f"noticed after {noticed * 1000:.0f} ms: {ended['sentence']}")
    assert len(incidents(host, "C21")) == 1


@pytest.mark.parametrize("app,cause", [("blocking:app", "stack"), ("blocking:asgi", "event_loop")])
def test_durable_writes_on_the_request_path(start: Starter, app: str, cause: str) -> None:
    """On a disk that takes its time; the durations are those of tests/worker/apps/slow_disk."""
    slow = {"env": {"PYTHONPATH": str(ROOT / "tests/worker/apps/slow_disk")}}
    host = start({"slow": {"app": app, "routes": ["/"], **slow}, "other": {"app": app, "routes": ["/other"]}})
    assert host.fetch("/other").status == 200
    for _ in range(3):
        assert host.fetch("/write?seconds=0.5", timeout=60).status == 200
    found = incident(host, "D11")
    assert (found["app"], found["cause"]) == ("slow", cause)
    assert found["evidence"]["place"] == line_of("os.fsync(") and found["evidence"]["call"] == "os.fsync"
    assert found["evidence"]["fsync_ms"] >= 10 and found["evidence"]["share_percent"] >= 20
    print(found["sentence"])
    assert len(incidents(host, "D11")) == 1


def test_what_workers_are_doing_is_shown_on_demand(start: Starter) -> None:
    host = start({"slow": {"app": "blocking:app", "workers": 2}})
    answer = in_background(host.address, "/block?seconds=2", timeout=60)
    host.wait(lambda: "in act\n" in host.do("stacks", "slow"), "the stack of the request")
    assert answer.result(30).status == 200
    told = json.loads(host.do("memory", "slow", "--seconds", "1", "--json"))
    assert told["app"] == "slow" and [worker["complete"] for worker in told["workers"]] == [True, True]
    assert host.run("stacks", "nobody").returncode == 1
