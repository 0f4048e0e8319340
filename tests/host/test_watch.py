"""What the host sees of applications from outside: limits that they run into, and neighbours that hold them up.

Each test makes one thing go wrong in a real application and waits for the incident; at its end, no other incident may
have been reported for any application. Control groups need root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT_ONLY, Starter, TestHost, missing
from load import Load, in_background

MIB = 1 << 20


def incidents(host: TestHost) -> list[dict[str, Any]]:
    return list(json.loads(host.do("why", "--json")))


def wait_for(host: TestHost, code: str, app: str = "app", seconds: float = 20.0) -> dict[str, Any]:
    """The incident of this code; fails when there is another one of any application."""

    def found() -> dict[str, Any] | None:
        return next((it for it in incidents(host) if (it["code"], it["app"]) == (code, app)), None)

    incident: dict[str, Any] = host.wait(found, f"{code} of {app}", seconds, every=0.1)
    return incident


def only(host: TestHost, *codes: str, but: tuple[str, ...] = ("C20",)) -> None:
    """Nothing else was reported, but for C20: who burns the processor on purpose is told so."""
    assert sorted({it["code"] for it in incidents(host)} - set(but)) == sorted(codes), incidents(host)


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


def fill_until_near(host: TestHost, write: int, step: int) -> dict[str, Any]:
    """More of the page cache than there is room for (MiB), which is no shortage; then so many KiB at a time, until M20."""
    # So much at a time that the kernel may make it wait for the disk, which is told and no concern of these tests.
    host.facts(f"/write?mib={write}")
    host.facts("/keep?kib=65536")
    time.sleep(1.5)  # Longer than two looks: nothing may be found.
    only(host, but=("C20", "D11"))
    began = time.monotonic()
    while "M20" not in {it["code"] for it in incidents(host)} and time.monotonic() - began < 30:
        host.facts(f"/keep?kib={step}")
        time.sleep(0.3)
    return wait_for(host, "M20")


@ROOT_ONLY
def test_near_the_memory_limit(start: Starter) -> None:
    """M20: what it keeps counts, what is in the page cache does not."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"memory": "96MiB"}}})
    missing(host, "memory")
    incident = fill_until_near(host, write=200, step=512)
    assert incident["evidence"]["limit_bytes"] == 96 * MIB
    assert 0.9 * 96 * MIB <= incident["evidence"]["used_bytes"] <= 96 * MIB
    only(host, "M20", but=("C20", "D11"))


@ROOT_ONLY
def test_shared_applications_near_what_they_have_together(start: Starter) -> None:
    """M20: nobody is near a limit of its own; the one that uses most is named."""
    calm = {"app": "faulty:app", "workers": 1, "routes": ["calm.example"], "limits": {"memory": "128MiB"}}
    host = start({"app": {"app": "faulty:app", "workers": 1, "routes": ["/"]}, "calm": calm}, host={"pool_memory": "192MiB"})
    missing(host, "memory", "calm")
    incident = fill_until_near(host, write=250, step=2048)
    evidence = incident["evidence"]
    assert incident["app"] == "app" and evidence["limit_bytes"] == 192 * MIB, incident
    assert 0.9 * 192 * MIB <= evidence["used_bytes"] <= 192 * MIB and evidence["own_bytes"] > 96 * MIB, incident
    assert incident["sentence"].startswith("the shared applications together use ") and "`pool_memory`" in incident["remedy"]
    only(host, "M20", but=("C20", "D11"))


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


def come_first(host: TestHost) -> None:
    """Let this host's own group come before whatever else runs on this machine: else that would be the neighbour."""
    for line in Path(f"/proc/{host.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        tree = Path(path).parent.as_posix().lstrip("/")
        if "cpu" in controllers.split(","):
            (Path("/sys/fs/cgroup/cpu") / tree / "cpu.shares").write_text("65536")
        elif (weight := Path("/sys/fs/cgroup") / tree / "cpu.weight").exists():
            weight.write_text("10000")


def cpu_seconds(host: TestHost, app: str) -> float:
    return sum(worker["cpu_seconds"] for worker in host.app(app)["workers"])


def starved(host: TestHost) -> bool:
    return any(it["code"] == "C11" for it in incidents(host))


@pytest.mark.alone
@ROOT_ONLY
def test_starved_by_a_neighbour(start: Starter) -> None:
    """C11: the neighbour that used most is named; its own busy processes are no neighbours."""
    cores = os.cpu_count() or 1
    apps = {
        "app": {"app": "faulty:app", "workers": 1, "routes": ["/app"]},
        "hog": {"app": "faulty:app", "workers": 2 * cores, "routes": ["/hog"], "limits": {"cpu_weight": 1000}},
    }
    host = start(apps)
    missing(host, "cpu", "hog")
    come_first(host)
    with Load(host.address, "/hog/burn?ms=500", clients=2 * cores):
        time.sleep(3)  # As long as it takes to be sure: whoever competes with itself only is not starved.
        only(host)
        began, used = time.monotonic(), cpu_seconds(host, "hog")
        with Load(host.address, "/app/burn?ms=50", clients=1):
            until = began + 20
            while not starved(host) and time.monotonic() < until:
                time.sleep(0.1)
        used = (cpu_seconds(host, "hog") - used) / (time.monotonic() - began)
    if not starved(host) and used < cores / 2:
        pytest.skip(f"skipped: the hog got {used:.1f} of {cores} cores only, others use this machine")
    evidence = wait_for(host, "C11", seconds=1)["evidence"]
    assert evidence["neighbour"] == "hog" and evidence["neighbour_cores"] > 0.3, evidence
    assert evidence["waited_ms"] > 100 and 30 < evidence["neighbour_percent"] <= 100, evidence
    # Those many processes are starved by nobody.
    only(host, "C11")


@ROOT_ONLY
def test_leak(start: Starter) -> None:
    """M30: the same is asked for again and again, and memory grows."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"memory": "256MiB"}}})
    missing(host, "memory")
    time.sleep(4)  # Nothing is asked of it: so nothing grows by itself.
    until = time.monotonic() + 60
    while "incident " not in host.output() and time.monotonic() < until:
        for _ in range(10):
            host.facts("/keep?kib=128")
            time.sleep(0.03)
    incident = wait_for(host, "M30", seconds=1)
    assert 110 * 1024 < incident["evidence"]["growth_bytes"] < 150 * 1024, incident
    assert incident["sentence"].startswith("every request to app leaves ")
    assert "top" not in incident["evidence"] and "`serpentry memory app`" in incident["remedy"]
    with Load(host.address, "/keep?kib=2", clients=1):
        traced = host.do("memory", "app", "--seconds", "1")
    first = wait_for(host, "M30", seconds=1)["evidence"]["top"].splitlines()[0]
    assert first.startswith("faulty.py:") and first in traced, traced
    only(host, "M30")


@ROOT_ONLY
def test_unbounded_cache(start: Starter) -> None:
    """M31: memory grows with inputs that are new, and not with others."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"memory": "384MiB"}}})
    missing(host, "memory")
    time.sleep(4)  # As above.
    until, key = time.monotonic() + 60, 0
    while "incident " not in host.output() and time.monotonic() < until:
        for _ in range(10):
            host.facts(f"/cache?kib=512&key={key}")
            key += 1
        began = time.monotonic()
        while time.monotonic() - began < 1:
            host.facts("/cache?kib=512&key=0")
    incident = wait_for(host, "M31", seconds=1)
    assert 400 * 1024 < incident["evidence"]["growth_bytes"] < 640 * 1024, incident
    assert "for every input that it has not seen before" in incident["sentence"]
    only(host, "M31")


# What each had is known from the looks before the kill, and they are late where others take the processors.
@pytest.mark.alone
@ROOT_ONLY
def test_a_pool_that_a_neighbour_fills(start: Starter) -> None:
    """M11: the one that is killed and the one that filled the pool, also when the host has only just begun."""
    host = start({"app": {}})
    missing(host, "memory")
    command = [host.program, "drill", "--all", "--only", "pool", "--tenancy", "shared", "--json", "--python", sys.executable]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True, timeout=60)
    drill = json.loads(done.stdout)
    assert drill["outcome"] == "explained" and drill["false"] == [] and done.returncode == 0, (drill, done.stderr)
    evidence = drill["incident"]["evidence"]
    assert evidence["culprit"] == "neighbour" and evidence["culprit_bytes"] > 300 * MIB > 200 * MIB > evidence["own_bytes"]


def test_open_files(start: Starter) -> None:
    """P11: as many as it may."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"open_files": 100}}})
    missing(host, "processes")
    answer = host.facts("/open?count=200")
    assert answer["error"] == 24 and answer["done"] < 100
    incident = wait_for(host, "P11")
    assert incident["evidence"] == {"limit": 100, "used": 100} and f"(pid {answer['pid']})" in incident["sentence"]
    host.facts("/close")
    only(host, "P11")


@ROOT_ONLY
def test_bandwidth(start: Starter) -> None:
    """N30: transfers that its limit slows down."""
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": {"bandwidth_out": "1MiB/s"}}})
    answer = in_background(host.address, "/large?mib=6", timeout=60)
    evidence = wait_for(host, "N30")["evidence"]
    assert evidence["limit_bytes_per_second"] == MIB
    assert 0.7 * MIB < evidence["used_bytes_per_second"] < 1.6 * MIB, evidence
    assert answer.result(60).status == 200
    only(host, "N30")


@ROOT_ONLY
def test_disk_rate(start: Starter) -> None:
    """D10: it waits for its disk, and writes as much as it may."""
    limits = {"disk_write": "2MiB/s"}
    host = start({"app": {"app": "faulty:app", "workers": 1, "limits": limits}})
    missing(host, "disk_write")
    answer = in_background(host.address, "/sync?mib=8", timeout=60)
    evidence = wait_for(host, "D10")["evidence"]
    assert evidence["limit_bytes_per_second"] == 2 * MIB
    assert evidence["used_bytes_per_second"] > 1.5 * MIB and evidence["waited_ms"] > 300, evidence
    assert answer.result(60).status == 200
    # What it waits in is told too, by its worker.
    assert {it["code"] for it in incidents(host)} <= {"D10", "D11"}
