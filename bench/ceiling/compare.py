#!/usr/bin/env python3
"""Would completions instead of readiness raise the ceiling? io_uring.c over constant.c, in interleaved rounds.

Needs wrk, a C compiler and liburing (liburing-dev; CFLAGS and LDFLAGS are passed on). Prints requests/s and CPU microseconds per
request (user, kernel) of each round, and the ratio: median (range).
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = HERE.parents[1] / "target" / "bench"
# Each run has the next: the kernel takes a ring down after its process has ended, and until then the port is taken.
PORTS = itertools.count(18_100)
PROGRAMS = {"constant": [], "io_uring": ["-luring"]}


def build(name: str, libraries: list[str]) -> Path:
    program = STATE / name
    flags, more = (shlex.split(os.environ.get(variable, "")) for variable in ("CFLAGS", "LDFLAGS"))
    source = str(HERE / f"{name}.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", *flags, "-o", str(program), source, *more, *libraries], check=True)
    return program


def load(port: int, seconds: int) -> str:
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def ticks(pid: int) -> tuple[int, int]:
    """CPU time in user and kernel mode (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def measure(program: Path, seconds: int) -> tuple[float, float, float]:
    """Requests/s; CPU microseconds per request, user and kernel."""
    port = next(PORTS)
    server = subprocess.Popen([str(program), str(port)])
    try:
        time.sleep(0.3)
        load(port, 1)
        before = ticks(server.pid)
        text = load(port, seconds)
        after = ticks(server.pid)
    finally:
        server.terminate()
        server.wait()
    count = int(re.search(r"(\d+) requests in", text)[1])
    tick = 1e6 / os.sysconf("SC_CLK_TCK") / count
    user, kernel = ((after[index] - before[index]) * tick for index in (0, 1))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), user, kernel


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    STATE.mkdir(parents=True, exist_ok=True)
    programs = {name: build(name, libraries) for name, libraries in PROGRAMS.items()}
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for round in range(options.rounds):
        order = list(programs)
        random.Random(round).shuffle(order)
        for name in order:
            rate, user, kernel = measure(programs[name], options.seconds)
            rates[name].append(rate)
            print(f"{name:9} {rate:9,.0f}/s  user {user:.2f} us  kernel {kernel:.2f} us", flush=True)
    ratios = [one / other for one, other in zip(rates["io_uring"], rates["constant"])]
    print(f"io_uring over constant: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
