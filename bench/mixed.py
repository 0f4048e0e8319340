"""Mixed service times: four workers, 90 % of the requests 5 ms and 10 % 100 ms, open loop, 70 % load.

Requests arrive at random (Poisson) whether or not the server keeps up, and each latency counts from the
planned send time. Every server gets the same arrivals; repetitions use new ones. Beside the servers stand two
simulations with the same arrivals and service times: one queue for all four workers (what a perfect
dispatcher gives) and one queue per worker (what assigning connections to workers gives). The difference
between them is pure queueing.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
import sys

import load
import servers

WORKERS = 4
FAST, SLOW, SLOW_SHARE = 0.005, 0.100, 0.10  # seconds, as in apps/mixed.py
MEAN = FAST * (1 - SLOW_SHARE) + SLOW * SLOW_SHARE
LOAD = 0.70
RATE = LOAD * WORKERS / MEAN
SERVERS = ["serpentry", "granian", "gunicorn sync", "gunicorn gthread 1"]
PERCENTS = (50, 95, 99)
LATE_MS = 5.0  # a generator later than this is reported: its lateness is part of every latency


def arrivals(seed: int, seconds: float) -> list[tuple[float, bool]]:
    """(time, is slow) of each request."""
    source = random.Random(seed)
    planned, at = [], source.expovariate(RATE)
    while at < seconds:
        planned.append((at, source.random() < SLOW_SHARE))
        at += source.expovariate(RATE)
    return planned


def simulate_one_queue(planned: list[tuple[float, bool]]) -> list[float]:
    """Latencies in seconds, first come first served, any free worker."""
    free = [0.0] * WORKERS
    latencies = []
    for at, slow in planned:
        end = max(at, heapq.heappop(free)) + (SLOW if slow else FAST)
        heapq.heappush(free, end)
        latencies.append(end - at)
    return latencies


def simulate_queue_per_worker(planned: list[tuple[float, bool]], seed: int) -> list[float]:
    """The same with each request bound to a worker at random before its turn."""
    source = random.Random(seed)
    free = [0.0] * WORKERS
    latencies = []
    for at, slow in planned:
        worker = source.randrange(WORKERS)
        free[worker] = max(at, free[worker]) + (SLOW if slow else FAST)
        latencies.append(free[worker] - at)
    return latencies


def percentiles_ms(latencies: list[float]) -> dict[str, float]:
    return {f"p{percent}": load.percentile(latencies, percent) * 1000 for percent in PERCENTS}


def measure(name: str, planned: list[tuple[float, bool]], seed: int, pin: bool) -> dict:
    requests = {False: load.request_bytes("/fast"), True: load.request_bytes("/slow")}
    plan = [(at, requests[slow]) for at, slow in planned]
    with servers.Running(name, servers.MIXED, workers=WORKERS, core=0 if pin else None) as server:
        server.wait_for_workers()
        for _ in range(2 * WORKERS):
            server.get()
        result = asyncio.run(load.open_loop(server.port, plan, seed))
    good = [latency for latency in result["latencies"] if latency is not None]
    if not good:
        raise servers.ServerFailed(f"{name} answered no request: {result['failures']}")
    row = percentiles_ms(good)
    row["failed"] = sum(result["failures"].values())
    row["failures"] = result["failures"]
    row["lag_p99"] = load.percentile(result["lags"], 99) * 1000
    row["connections"] = result["opened"]
    return row


def run(repetitions: int, seconds: float, seed: int, pin: bool, only: list[str]) -> dict:
    load.pin_self(pin)
    names = [name for name in SERVERS if servers.available(name) and (not only or name in only)]
    rows: dict[str, list[dict | None]] = {}
    problems = []
    order = random.Random(seed)
    for repetition in range(repetitions):
        planned = arrivals(seed + repetition, seconds)
        one = percentiles_ms(simulate_one_queue(planned))
        many = percentiles_ms(simulate_queue_per_worker(planned, seed + repetition))
        rows.setdefault("simulated: one queue", []).append(one)
        rows.setdefault("simulated: one queue per worker", []).append(many)
        order.shuffle(names)
        for name in names:
            try:
                row = measure(name, planned, seed + repetition, pin)
                text = " ".join(f"p{percent} {row[f'p{percent}']:.1f}" for percent in PERCENTS)
                text += f" ms, failed {row['failed']}, generator late p99 {row['lag_p99']:.2f} ms"
            except servers.ServerFailed as error:
                row, text = None, str(error)
                problems.append(f"repetition {repetition + 1}: {error}")
            rows.setdefault(name, []).append(row)
            print(f"  {repetition + 1}/{repetitions} {name:20s} {text}", file=sys.stderr)
    problems += [
        f"generator late by {row['lag_p99']:.1f} ms (p99) for {name}: the machine was busy"
        for name, values in rows.items()
        for row in values
        if row and row.get("lag_p99", 0) > LATE_MS
    ]
    return {
        "repetitions": repetitions,
        "seconds": seconds,
        "seed": seed,
        "rate": RATE,
        "problems": problems,
        "rows": {name: summarize(values) for name, values in rows.items() if any(values)},
        "ratios": {name: ratios(rows, name) for name in rows if name != "serpentry" and any(rows[name])},
    }


def summarize(values: list[dict | None]) -> dict:
    good = [value for value in values if value]
    summary = {}
    for key in [f"p{percent}" for percent in PERCENTS] + ["lag_p99", "connections"]:
        if key in good[0]:
            numbers = [value[key] for value in good]
            summary[key] = [statistics.median(numbers), min(numbers), max(numbers)]
    summary["failed"] = sum(value.get("failed", 0) for value in good)
    return summary


def ratios(rows: dict[str, list[dict | None]], other: str) -> dict[str, list[float]]:
    """serpentry divided by the other within each repetition: median, smallest, largest."""
    pairs = [
        (mine, theirs)
        for mine, theirs in zip(rows.get("serpentry", []), rows[other], strict=False)
        if mine and theirs
    ]
    found = {}
    for percent in PERCENTS if pairs else ():
        values = [mine[f"p{percent}"] / theirs[f"p{percent}"] for mine, theirs in pairs]
        found[f"p{percent}"] = [statistics.median(values), min(values), max(values)]
    return found
