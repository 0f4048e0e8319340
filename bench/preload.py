"""Measure what `--preload` gains: `python3 bench/preload.py [--rounds N] [--json FILE]`.

For each application two servers run side by side, one with and one without `--preload`, with four workers each. In
turn one worker of each is killed; how long its replacement takes is the host's own figure (from the moment it is
wanted to the moment it may be given requests). Then memory: the sum of the workers' PSS, and of the whole tree, which
with `--preload` holds one process more. Everything is on 127.0.0.1 and stopped at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import sys
import time
from pathlib import Path

import environment
import processes
import servers

WORKERS = 4
REQUESTS = 200  # before memory is read, so that every worker has run the application
READY = re.compile(r"worker (\d+) is ready, ([0-9.]+) ms after it was wanted")
PROCESS = re.compile(r"worker (\d+) is process (\d+)")
PATIENCE = 30.0
MIB = 2**20


def command(*extra: str):
    def with_extra(app: servers.App, port: int, workers: int) -> list[str]:
        return [*servers.serpentry(app, port, workers), "--log-level", "debug", *extra]

    return with_extra


KINDS = {
    "ordinary": servers.Server(command(), (), str(environment.SERPENTRY)),
    "preload": servers.Server(command("--preload"), (), str(environment.SERPENTRY)),
}


class Watched:
    """A running server and what its log says of its workers."""

    def __init__(self, name: str, running: servers.Running) -> None:
        self.name = name
        self.running = running

    def ready(self) -> dict[int, float]:
        """Milliseconds by number of the worker."""
        return {int(number): float(took) for number, took in READY.findall(self.running.log.read_text())}

    def pids(self) -> dict[int, int]:
        return {int(number): int(pid) for number, pid in PROCESS.findall(self.running.log.read_text())}

    def wait_for(self, count: int) -> dict[int, float]:
        deadline = time.monotonic() + PATIENCE
        while len(ready := self.ready()) < count:
            if time.monotonic() > deadline:
                raise servers.ServerFailed(f"{self.name}: {len(ready)} of {count} workers: {self.running.log_end()}")
            time.sleep(0.002)
        return ready

    def replace_one(self) -> float:
        """Kill the oldest worker; milliseconds that its replacement took."""
        before = self.ready()
        alive = [number for number in sorted(before) if os.path.exists(f"/proc/{self.pids()[number]}")]
        os.kill(self.pids()[alive[0]], signal.SIGKILL)
        after = self.wait_for(len(before) + 1)
        return after[max(after)]


def measure(app: servers.App, rounds: int) -> dict:
    with servers.Running("ordinary", app, WORKERS) as ordinary, servers.Running("preload", app, WORKERS) as preload:
        watched = [Watched("ordinary", ordinary), Watched("preload", preload)]
        first = {one.name: max(one.wait_for(WORKERS).values()) for one in watched}
        took: dict[str, list[float]] = {one.name: [] for one in watched}
        for _ in range(rounds):
            for one in watched:
                # Longer than the host's threshold for a crash loop, so that no pause is measured.
                time.sleep(1.1)
                took[one.name].append(one.replace_one())
        memory = {one.name: memory_of(one) for one in watched}
    return {"first start of all": first, "replacement": took, "memory": memory}


def memory_of(one: Watched) -> dict[str, int]:
    for _ in range(REQUESTS):
        one.running.get()
    time.sleep(0.5)
    known = set(one.pids().values())
    workers = [pid for pid in processes.workers(one.running.pid) if pid in known]
    if len(workers) != WORKERS:
        raise servers.ServerFailed(f"{one.name}: {len(workers)} workers instead of {WORKERS}")
    tree = processes.tree(one.running.pid)
    return {"workers": processes.memory(workers)["pss"], "tree": processes.memory(tree)["pss"]}


def show(name: str, result: dict) -> None:
    print(f"{name}:")
    for kind, values in result["replacement"].items():
        print(
            f"  {kind:9s} replacement {statistics.median(values):7.1f} ms (median of {len(values)},"
            f" {min(values):.1f} to {max(values):.1f}), all {WORKERS} at first {result['first start of all'][kind]:.0f} ms,"
            f" PSS of {WORKERS} workers {result['memory'][kind]['workers'] / MIB:.1f} MiB,"
            f" whole tree {result['memory'][kind]['tree'] / MIB:.1f} MiB"
        )
    pairs = zip(result["replacement"]["ordinary"], result["replacement"]["preload"])
    ratios = sorted(ordinary / preload for ordinary, preload in pairs)
    print(f"  ratio per round: median {statistics.median(ratios):.1f}, {ratios[0]:.1f} to {ratios[-1]:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/preload.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="killed workers per server (15)")
    parser.add_argument("--python", help="interpreter for the virtual environment")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    if not environment.SERPENTRY.exists():
        print("bench: the program is not built: run `make build`", file=sys.stderr)
        return 1
    environment.prepare(options.python)
    servers.SERVERS.update(KINDS)
    results = {"machine": environment.machine() | environment.versions()}
    for name in ("Django", "FastAPI"):
        results[name] = measure(servers.APPS[name], options.rounds)
        show(name, results[name])
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    # A terminated run stops its servers as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
