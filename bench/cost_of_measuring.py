"""What it costs that requests are measured: this program against another build of it, which does not.

    python3 bench/cost_of_measuring.py --off OLD_PROGRAM [--on NEW_PROGRAM] [--rounds 6] [--pairs 8]

Each round starts both programs, side by side and both on the first core; `wrk` with 64 connections loads one of them at a
time from the second core, for a second each, in pairs whose order is drawn at random. With router and worker on one core the
program is what limits the rate, and no choice of the scheduler between two cores is in it: where that chose, one pair in four
was off by more than 15 % either way. Two ratios per pair, on to off: answers per second, and CPU time per answer (router and
worker together). Given are the median over the pairs, the 95 % interval of that median (from the order statistics), and the
range. Above 1 is dearer for CPU time, faster for answers. And what is exact on any machine: the part of the CPU time that goes to
threads which serve no request (host, observer, looker, steward), with and without.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import statistics
import sys
from pathlib import Path

import environment
import processes
import servers
from throughput import wrk

APPS = ("hello WSGI", "hello ASGI", "Flask", "FastAPI")
SERVER_CORE, LOAD_CORE = 0, 1


def register(name: str, program: Path) -> None:
    """A server of the bench that is this build."""

    def command(app: servers.App, port: int, workers: int) -> list[str]:
        return [str(program.resolve()), *servers.serpentry(app, port, workers)[1:]]

    servers.SERVERS[name] = servers.Server(command, ("wsgi", "asgi"), str(program))


def sample(server: servers.Running, app: servers.App) -> tuple[float, float, float]:
    """Answers per second, CPU seconds per answer, and the part of them beside the requests, over a second."""
    before, beside = processes.cpu_seconds(server.pid), processes.threads_beside(server.pid, {"router"})
    load = wrk(server.port, app.path, 1, LOAD_CORE)
    used = processes.cpu_seconds(server.pid) - before
    beside = processes.threads_beside(server.pid, {"router"}) - beside
    if complaint := server.complaint():
        raise servers.ServerFailed(complaint)
    return load["requests"] / load["seconds"], used / load["requests"], beside / used


def one_round(app: servers.App, pairs: int, draw: random.Random) -> dict[str, list[float]]:
    """Ratios, on to off, of answers and of CPU time, and both parts beside the requests; both programs freshly started."""
    results: dict[str, list[float]] = {name: [] for name in ("answers", "cpu", "beside on", "beside off")}
    with (
        servers.Running("on", app, core=SERVER_CORE) as on,
        servers.Running("off", app, core=SERVER_CORE) as off,
    ):
        running = {"on": on, "off": off}
        for server in running.values():
            sample(server, app)  # warm
        for _ in range(pairs):
            found = {name: sample(running[name], app) for name in draw.sample(["on", "off"], 2)}
            results["answers"].append(found["on"][0] / found["off"][0])
            results["cpu"].append(found["on"][1] / found["off"][1])
            results["beside on"].append(found["on"][2])
            results["beside off"].append(found["off"][2])
    return results


def interval_of_median(values: list[float]) -> tuple[float, float]:
    """The narrowest order statistics that hold the median with at least 95 % (binomial); the range if there are too few."""
    ordered, count = sorted(values), len(values)
    cut = 0
    while 2 * sum(math.comb(count, below) for below in range(cut + 1)) / 2**count <= 0.05:
        cut += 1
    low = max(cut - 1, 0)
    return ordered[low], ordered[count - 1 - low]


def summary(ratios: list[float]) -> dict[str, float]:
    low, high = interval_of_median(ratios)
    return {"median": statistics.median(ratios), "low": low, "high": high, "least": min(ratios), "most": max(ratios)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", type=Path, default=environment.SERPENTRY, help="the program that measures")
    parser.add_argument("--off", type=Path, required=True, help="a release build that does not")
    parser.add_argument("--rounds", type=int, default=6, help="fresh starts per application")
    parser.add_argument("--pairs", type=int, default=8, help="pairs per round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=APPS, action="append", help="only this application")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    environment.prepare(None)
    register("on", options.on)
    register("off", options.off)
    draw = random.Random(options.seed)
    results: dict[str, dict] = {}
    for label in options.only or APPS:
        app = servers.APPS[label]
        pairs: dict[str, list[float]] = {}
        for number in range(options.rounds):
            for name, values in one_round(app, options.pairs, draw).items():
                pairs.setdefault(name, []).extend(values)
            median = statistics.median(pairs["answers"][-options.pairs :])
            print(f"  {number + 1}/{options.rounds} {label}: answers x{median:.3f}", file=sys.stderr)
        results[label] = {name: summary(values) for name, values in pairs.items()} | {"pairs": pairs}
        for name in pairs:
            s = results[label][name]
            print(f"{label:10s} {name:10s} {s['median']:.4f} [{s['low']:.4f}, {s['high']:.4f}], "
                  f"range {s['least']:.4f} to {s['most']:.4f}, {len(pairs[name])} pairs", flush=True)
    if options.json:
        where = environment.machine() | environment.versions()
        options.json.write_text(json.dumps({"machine": where, **results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
