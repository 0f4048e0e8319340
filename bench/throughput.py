"""Throughput, latency, CPU and memory of one Python process per server, by `wrk` with 64 connections.

Interleaved: in each round every server runs once, in a shuffled (seeded) order, freshly started, so that a
machine that slows down slows all of them down. The ratio of two servers is taken within a round; medians and
ranges are taken over rounds. Whoever is about as fast as serpentry, or about as much
slower as a budget asks, is then measured beside it in more rounds: a round is off by a tenth either way, and what is
nearer is not decided by a few of them. wrk is a closed loop: its latencies say how the server divides its time among
64 clients that wait for it, not what users of a half-loaded server would see (bench/mixed.py measures that).
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys

import budgets
import environment
import processes
import servers


# Either way, a ratio within this factor of a bound is not told apart from it until more rounds have.
CLOSE = 1.12


class Hung(servers.ServerFailed):
    """The server no longer answers after a load that ended with all connections closed at once."""


def wrk(port: int, path: str, seconds: float, core: int | None) -> dict[str, float]:
    script = environment.BENCH / "wrk_report.lua"
    command = [
        "wrk",
        "-t1",
        "-c64",
        f"-d{seconds:g}s",
        "--latency",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}{path}",
    ]
    pin = None if core is None else (lambda: os.sched_setaffinity(0, {core}))
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=pin, timeout=seconds + 30)
    for line in result.stdout.splitlines():
        if line.startswith("JSON "):
            return json.loads(line[5:])
    raise servers.ServerFailed(f"wrk gave no report: {(result.stdout + result.stderr).strip()[-200:]}")


def measure(
    name: str, app: servers.App, seconds: int, warm: int, pin: bool, notes: list[str]
) -> dict[str, float]:
    """One server, freshly started: rates in 1/s, times in microseconds, memory in bytes."""
    core, load_core = (0, 1) if pin else (None, None)
    with servers.Running(name, app, core=core) as server:
        if warm:
            wrk(server.port, app.path, warm, load_core)
            if complaint := server.complaint():
                raise Hung(f"{name} after the warm-up: {complaint}")
        before, beside = processes.cpu_seconds(server.pid), processes.threads_beside(server.pid, {"router"})
        load = wrk(server.port, app.path, seconds, load_core)
        used = processes.cpu_seconds(server.pid) - before
        beside = processes.threads_beside(server.pid, {"router"}) - beside
        memory = processes.memory(processes.tree(server.pid))
        if complaint := server.complaint():
            notes.append(f"{name} after the load: {complaint}")
    if not load["requests"]:
        raise servers.ServerFailed(f"{name} answered no request of wrk")
    return {
        "rate": load["requests"] / load["seconds"],
        "p50_us": load["p50_us"],
        "p99_us": load["p99_us"],
        "errors": load["bad_status"] + load["connect"] + load["write"] + load["timeout"],
        "read_errors": load["read"],
        "cpu_us": used * 1e6 / load["requests"],
        # Means something for serpentry only: what its threads that serve no request took, as a part of all.
        "beside": beside / used if used else 0.0,
        "pss": memory["pss"],
        "rss": memory["rss"],
    }


def measure_or_note(
    name: str, app: servers.App, seconds: int, warm: int, pin: bool, cold: set, notes: list[str]
) -> dict[str, float] | None:
    """Measure; a server that hangs after the warm-up is measured without one. `notes` gets complaints."""
    try:
        if (name, app) not in cold:
            try:
                return measure(name, app, seconds, warm, pin, notes)
            except Hung as hung:
                cold.add((name, app))
                notes.append(f"{hung}; measured without a warm-up from here on")
        return measure(name, app, seconds, 0, pin, notes)
    except servers.ServerFailed as error:
        notes.append(str(error))
        return None


def run(rounds: int, more: int, seconds: int, warm: int, seed: int, pin: bool, only: list[str]) -> dict:
    """All applications; returns {application: {"servers": {name: medians}, "ratios": {peer: range}, ...}}."""
    samples: dict[str, dict[str, list[dict | None]]] = {}
    problems: list[str] = []
    cold: set = set()
    order = random.Random(seed)

    def one_round(label: str, number: int, of: int, names: list[str]) -> None:
        """Every server of the application gets an entry, so that entries at one place are of one round."""
        by_server = samples.setdefault(label, {})
        measured = list(names)
        order.shuffle(measured)
        found: dict[str, dict | None] = {}
        for name in measured:
            notes: list[str] = []
            sample = found[name] = measure_or_note(name, servers.APPS[label], seconds, warm, pin, cold, notes)
            problems.extend(f"{label}, round {number}: {note}" for note in notes)
            text = f"{sample['rate']:9.0f}/s  p99 {sample['p99_us'] / 1000:7.2f} ms" if sample else "failed"
            print(f"  {number}/{of} {label:10s} {name:16s} {text} {'; '.join(notes)}", file=sys.stderr)
        for name in {**by_server, **found}:
            by_server.setdefault(name, []).append(found.get(name))

    known = [label for label, app in servers.APPS.items() if environment.imports(app.module)]
    for number in range(1, rounds + 1):
        # Applications one after another, servers of one application side by side: their ratio is what counts.
        for label in known:
            names = servers.for_app(servers.APPS[label])
            one_round(label, number, rounds, [name for name in names if not only or name in only])
    races = {label: close_race(label, samples[label]) for label in known}
    for number in range(rounds + 1, rounds + more + 1):
        for label, names in races.items():
            if len(names) > 1:
                one_round(label, number, rounds + more, names)
    results = {label: summarize(by_server) for label, by_server in samples.items()}
    return {
        "rounds": rounds,
        "more_rounds": more,
        "close": CLOSE,
        "races": {label: names for label, names in races.items() if len(names) > 1},
        "seconds": seconds,
        "seed": seed,
        "pin": pin,
        "apps": results,
        "problems": problems,
    }


def summarize(by_server: dict[str, list[dict | None]]) -> dict:
    medians = {}
    for name, rounds in by_server.items():
        good = [sample for sample in rounds if sample]
        if good:
            medians[name] = {key: statistics.median(sample[key] for sample in good) for key in good[0]}
            medians[name]["rate_range"] = [min(s["rate"] for s in good), max(s["rate"] for s in good)]
            medians[name]["errors"] = sum(sample["errors"] for sample in good)
            medians[name]["rounds"] = len(good)
    ours = by_server.get("serpentry", [])
    ratios = {}
    for name, rounds in by_server.items():
        pairs = [(mine, theirs) for mine, theirs in zip(ours, rounds, strict=False) if mine and theirs]
        if name != "serpentry" and pairs:
            of = {
                key: [mine[key] / theirs[key] for mine, theirs in pairs if theirs[key]] for key in ("rate", "p99_us")
            }
            ratios[name] = {key: spread(values) for key, values in of.items()} | {"interval": interval(of["rate"])}
    # By what decides, the ratio within rounds, and not by whoever had the luckier rounds.
    peers = [name for name in ratios if servers.SERVERS[name].peer]
    best_peer = min(peers, key=lambda name: ratios[name]["rate"][0], default=None)
    ceiling = ratio_of(by_server, "no Python at all", "granian")
    return {"servers": medians, "ratios": ratios, "best_peer": best_peer, "ceiling_over_granian": ceiling}


def close_race(label: str, by_server: dict[str, list[dict | None]]) -> list[str]:
    """Serpentry and the peers near a bound; which, must not depend on the side of it that they are on."""
    near = ["serpentry"]
    for name in by_server:
        if name == "serpentry" or not servers.SERVERS[name].peer:
            continue
        ratio = ratio_of(by_server, "serpentry", name)
        bounds = [1.0] + ([budgets.OVER_GRANIAN[label]] if name == "granian" and label in budgets.OVER_GRANIAN else [])
        if ratio and any(bound / CLOSE <= ratio[0] <= bound * CLOSE for bound in bounds):
            near.append(name)
    return near


def ratio_of(by_server: dict[str, list[dict | None]], one: str, other: str) -> list[float] | None:
    """The rate of one server over another's, within rounds."""
    pairs = zip(by_server.get(one, []), by_server.get(other, []), strict=False)
    ratios = [mine["rate"] / theirs["rate"] for mine, theirs in pairs if mine and theirs]
    return spread(ratios) if ratios else None


def spread(values: list[float]) -> list[float]:
    """Median, smallest, largest."""
    return [statistics.median(values), min(values), max(values)]


def interval(values: list[float]) -> list[float] | None:
    """Where the true median lies with a confidence of 95 %, from the order of the values alone (the sign test turned
    round: each is above it or below with equal chances). `None`: too few for that, which is fewer than six.
    """
    count, outside, rank = len(values), 0.0, 0
    while rank < count // 2 and outside + 2 * math.comb(count, rank) / 2**count <= 0.05:
        outside += 2 * math.comb(count, rank) / 2**count
        rank += 1
    in_order = sorted(values)
    return [in_order[rank - 1], in_order[count - rank]] if rank else None
