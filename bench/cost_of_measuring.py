"""What it costs that requests are measured: this program against another build of it, which does not.

    python3 bench/cost_of_measuring.py --off OLD_PROGRAM [--on NEW_PROGRAM] [--rounds 12] [--seconds 3]

Interleaved and in pairs, the order within a pair drawn at random: both programs freshly started, `wrk` with 64 connections.
Two ratios per pair, on to off: answers per second, and CPU time per answer (router and worker together), which also says
something on a machine that does other work. Given are the median over the pairs, the 95 % interval of that median (from the
order statistics), and the range. Above 1 is dearer for CPU time, faster for answers.
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

APPS = ("hello WSGI", "hello ASGI", "Flask")


def register(name: str, program: Path) -> None:
    """A server of the bench that is this build."""

    def command(app: servers.App, port: int, workers: int) -> list[str]:
        return [str(program.resolve()), *servers.serpentry(app, port, workers)[1:]]

    servers.SERVERS[name] = servers.Server(command, ("wsgi", "asgi"), str(program))


def sample(name: str, app: servers.App, seconds: int) -> tuple[float, float]:
    """Answers per second, and CPU seconds per answer."""
    with servers.Running(name, app) as server:
        wrk(server.port, app.path, 1, None)
        before = processes.cpu_seconds(server.pid)
        load = wrk(server.port, app.path, seconds, None)
        used = processes.cpu_seconds(server.pid) - before
        if complaint := server.complaint():
            raise servers.ServerFailed(complaint)
    return load["requests"] / load["seconds"], used / load["requests"]


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
    parser.add_argument("--rounds", type=int, default=12, help="pairs per application")
    parser.add_argument("--seconds", type=int, default=3)
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
        rates: list[float] = []
        cpu: list[float] = []
        for number in range(options.rounds):
            order = draw.sample(["on", "off"], 2)
            found = {name: sample(name, app, options.seconds) for name in order}
            rates.append(found["on"][0] / found["off"][0])
            cpu.append(found["on"][1] / found["off"][1])
            print(f"  {number + 1}/{options.rounds} {label}: answers x{rates[-1]:.3f}, CPU x{cpu[-1]:.3f}", file=sys.stderr)
        results[label] = {"answers": summary(rates), "cpu": summary(cpu), "pairs": {"answers": rates, "cpu": cpu}}
        for what in ("answers", "cpu"):
            s = results[label][what]
            print(f"{label:10s} {what:8s} x{s['median']:.3f} [{s['low']:.3f}, {s['high']:.3f}], "
                  f"range {s['least']:.3f} to {s['most']:.3f}, {options.rounds} pairs", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": environment.machine(), **results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
