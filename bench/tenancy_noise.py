"""One application beside four noisy ones: its latency over its quiet latency, isolated and shared.

Open loop: requests arrive at random (Poisson) whether or not they are answered, and a latency counts from the planned
time of sending. Blocks are interleaved: in each repetition both models are run, in random order, each with a quiet and a
noisy block, in random order, over the same arrivals. A ratio is of the two blocks of one host. The generator runs with
real-time priority, so that what is measured is not the generator's own waiting, and not on the isolated application's core:
clients are other machines and take nothing of it. Where it was late all the same (others had the machine), the block is
repeated; how often, and how late it was in those that count, is reported.
"""

from __future__ import annotations

import asyncio
import http.client
import math
import os
import random
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import load
import toml_text
from hosting import Host

APPS = Path(__file__).resolve().parent / "apps"
NEIGHBOURS = 4
# Requests per second: a third of a core at some 4 ms each.
RATE = 80.0
PERCENTS = (50, 95, 99)
MODELS = ("isolated", "shared")
# Noise begins this long before the load and ends as long after it.
MARGIN_SECONDS = 1.0
LATE_MS = 2.0
# Of one block.
TRIES = 3


def run(program: Path, folder: Path, python: str, repetitions: int, seconds: float, seed: int) -> dict[str, Any]:
    """All repetitions; medians and ranges."""
    order = random.Random(seed)
    blocks: list[dict[str, Any]] = []
    for repetition in range(repetitions):
        models = list(MODELS)
        order.shuffle(models)
        for model in models:
            noisy_first = order.random() < 0.5
            host = start(program, folder, python, model)
            try:
                for noisy in (noisy_first, not noisy_first):
                    for again in range(TRIES):
                        block = measure(host, noisy, arrivals(seed + repetition, seconds), seed + repetition)
                        if block["late_p99"] <= LATE_MS:
                            break
                    block |= {"model": model, "noisy": noisy, "repetition": repetition, "again": again}
                    blocks.append(block)
                    shown = " ".join(f"p{percent} {block[f'p{percent}']:.2f}" for percent in PERCENTS)
                    words = f"{model:8} {'noisy' if noisy else 'quiet'}: {shown} ms, {block['failed']} failed"
                    print(
                        f"  {repetition + 1}/{repetitions} {words}, late p99 {block['late_p99']:.2f}", file=sys.stderr
                    )
                host.stop(40)
            finally:
                host.kill()
    return {"seconds": seconds, "rate": RATE, "repetitions": repetitions, "blocks": blocks, **summary(blocks)}


def start(program: Path, folder: Path, python: str, model: str) -> Host:
    """A host of the victim and its neighbours, ready."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    common = {"directory": str(APPS), "python": python, "env": {"BENCH_DATA": str(folder)}}
    # The same limits in both: what differs is whose the core is.
    limits = {"cpu": 1, "memory": "256MiB", "disk_space": "64MiB"} if model == "isolated" else {}
    apps: dict[str, dict[str, Any]] = {
        "victim": {
            **common,
            "app": "tenancy_victim:app",
            "routes": ["/victim"],
            "tenancy": model,
            "limits": limits,
        }
    }
    for number in range(NEIGHBOURS):
        apps[f"noise{number}"] = {
            **common,
            "app": "tenancy_noise:app",
            "routes": [f"/noise{number}"],
            "limits": {"memory": "300MiB", "processes": 64},
        }
    file, state = folder / "serpentry.toml", folder / "state"
    file.write_text(toml_text.document({"listen": ["127.0.0.1:0"], "state": str(state)}, apps))
    return Host(program, file, state, environment={"PYTHONDONTWRITEBYTECODE": "1"}).wait_until_ready(60)


def arrivals(seed: int, seconds: float) -> list[float]:
    """Times of the requests."""
    source = random.Random(seed)
    planned, at = [], source.expovariate(RATE)
    while at < seconds:
        planned.append(at)
        at += source.expovariate(RATE)
    return planned


def measure(host: Host, noisy: bool, planned: list[float], seed: int) -> dict[str, Any]:
    """One block."""
    address = host.address
    assert isinstance(address, tuple)
    port = address[1]
    for _ in range(50):
        get(port, "/victim/work")
    if noisy:
        seconds = planned[-1] + 2 * MARGIN_SECONDS
        for number in range(NEIGHBOURS):
            get(port, f"/noise{number}/start?seconds={seconds:.1f}")
        time.sleep(MARGIN_SECONDS)
    request = load.request_bytes("/victim/work")
    with RealTime(cores_of_clients(host)):
        result = asyncio.run(load.open_loop(port, [(at, request) for at in planned], seed))
    # A request that failed is slower than any that was answered, so that refusing cannot look fast.
    times = [math.inf if it is None else it * 1000 for it in result["latencies"]]
    if noisy:
        # The next block begins when it is quiet again.
        host.wait(lambda: len(host.processes()) <= NEIGHBOURS + 4, "the noise ends", 60, every=0.1)
    return {
        **{f"p{percent}": load.percentile(times, percent) for percent in PERCENTS},
        "requests": len(planned),
        "failed": times.count(math.inf),
        "late_p99": load.percentile(result["lags"], 99) * 1000,
    }


def get(port: int, path: str) -> None:
    """One request, which must be answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    if response.status != 200:
        raise OSError(f"{path} was answered {response.status}")


def cores_of_clients(host: Host) -> set[int]:
    """All but the application's own; where it has none, all but the last, so that the generator has as many in both models."""
    everywhere = os.sched_getaffinity(0)
    own = os.sched_getaffinity(host.serving_pids("victim")[0])
    return everywhere - own or everywhere - {max(everywhere)} or everywhere


class RealTime:
    """While it lasts this thread comes before all ordinary ones, on these cores."""

    def __init__(self, cores: set[int]) -> None:
        self.cores, self.before = cores, os.sched_getaffinity(0)

    def __enter__(self) -> None:
        os.sched_setaffinity(0, self.cores)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            print(f"  the generator has no real-time priority: {error}", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, self.before)


def summary(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and range of each percentile, and of noisy over quiet within one host."""
    found: dict[str, Any] = {"values": {}, "ratios": {}, "problems": []}
    for model in MODELS:
        mine = [block for block in blocks if block["model"] == model]
        pairs = {}
        for block in mine:
            pairs.setdefault(block["repetition"], {})[block["noisy"]] = block
        for percent in PERCENTS:
            key = f"p{percent}"
            for noisy in (False, True):
                values = [pair[noisy][key] for pair in pairs.values()]
                found["values"][f"{model} {'noisy' if noisy else 'quiet'} {key}"] = spread(values)
            ratios = [pair[True][key] / pair[False][key] for pair in pairs.values()]
            found["ratios"][f"{model} {key}"] = spread(ratios)
        if failed := sum(block["failed"] for block in mine):
            found["problems"].append(f"{model}: {failed} requests failed")
    if again := sum(block["again"] for block in blocks):
        found["problems"].append(f"{again} blocks were repeated, in which the generator was late by more than {LATE_MS:g} ms (p99)")
    late = [block["late_p99"] for block in blocks]
    if max(late) > LATE_MS:
        found["problems"].append(f"the generator was late by up to {max(late):.1f} ms (p99 of a block)")
    return found


def spread(values: list[float]) -> list[float]:
    """Median, smallest, largest."""
    return [statistics.median(values), min(values), max(values)]
