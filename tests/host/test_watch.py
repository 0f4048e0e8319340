"""What the host sees of applications from outside: limits that they run into, and neighbours that hold them up.

Each test makes one thing go wrong in a real application and waits for the incident; at its end, no other incident may
have been reported for any application. Control groups need root.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from conftest import Starter, TestHost
from load import Load

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="skipped: not root, so there are no control groups")
MIB = 1 << 20


def incidents(host: TestHost) -> list[dict[str, Any]]:
    return list(json.loads(host.do("why", "--json")))


def wait_for(host: TestHost, code: str, app: str = "app", seconds: float = 20.0) -> dict[str, Any]:
    """The incident of this code; fails when there is another one of any application."""

    def found() -> dict[str, Any] | None:
        return next((it for it in incidents(host) if (it["code"], it["app"]) == (code, app)), None)

    incident: dict[str, Any] = host.wait(found, f"{code} of {app}", seconds, every=0.1)
    return incident


def only(host: TestHost, *codes: str) -> None:
    """Nothing else was reported."""
    assert sorted({it["code"] for it in incidents(host)}) == sorted(codes), incidents(host)


def missing(host: TestHost, constraint: str, name: str = "app") -> None:
    """Skip where the machine does not enforce it."""
    for it in host.app(name)["unenforced"]:
        if it["constraint"] == constraint:
            pytest.skip(f"skipped: {constraint} is not enforced here: {it['why']}")


@ROOT_ONLY
def test_throttled(start: Starter) -> None:
    """C10: with the quota and what it used; within two seconds, where nobody else keeps it from using up its quota."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"cpu": 0.1}}})
    missing(host, "cpu")
    # Its start was held back too, and nobody waited for it.
    host.facts("/")
    only(host)
    began = time.monotonic()
    with Load(host.address, "/burn?ms=100", clients=2):
        incident = wait_for(host, "C10")
        took = time.monotonic() - began
    assert incident["cause"] == "quota"
    evidence = incident["evidence"]
    assert evidence["limit_cores"] == 0.1 and 0.03 < evidence["used_cores"] < 0.2, evidence
    assert evidence["throttled_percent"] > 50 and evidence["throttled_ms"] > 100
    assert "held back by its own CPU limit of 0.1 cores" in incident["sentence"]
    assert took < 10, f"{took:.1f} s"
    only(host, "C10")


@ROOT_ONLY
def test_near_the_memory_limit(start: Starter) -> None:
    """M20: what it keeps counts, what is in the page cache does not."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"memory": "96MiB"}}})
    missing(host, "memory")
    host.facts("/write?mib=200")
    host.facts("/keep?kib=65536")
    time.sleep(1.5)  # Longer than two looks: nothing may be found.
    only(host)
    began = time.monotonic()
    while not incidents(host) and time.monotonic() - began < 30:
        host.facts("/keep?kib=512")
        time.sleep(0.3)
    incident = wait_for(host, "M20")
    assert incident["evidence"]["limit_bytes"] == 96 * MIB
    assert 0.9 * 96 * MIB <= incident["evidence"]["used_bytes"] <= 96 * MIB
    only(host, "M20")


@ROOT_ONLY
def test_volume_full(start: Starter) -> None:
    """D20, and that it is over once there is room."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"disk_space": "32MiB"}}})
    missing(host, "disk_space")
    assert host.facts("/fill")["error"] == 28
    incident = wait_for(host, "D20")
    assert incident["cause"] == "volume" and incident["count"] == 1
    assert incident["evidence"]["used_bytes"] > 0.9 * incident["evidence"]["limit_bytes"]
    assert incident["sentence"].startswith("the volume of app is full (")
    host.facts("/empty")
    only(host, "D20")


@ROOT_ONLY
def test_process_limit(start: Starter) -> None:
    """P10: with how many could not be started."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"processes": 24}}})
    missing(host, "processes")
    answer = host.facts("/start?count=100")
    assert answer["error"] == 11 and answer["done"] < 24
    incident = wait_for(host, "P10")
    # The C library may try twice.
    assert incident["evidence"].pop("refused") in (1, 2)
    assert incident["evidence"] == {"limit": 24, "used": 24}
    host.facts("/end")
    only(host, "P10")
