#!/usr/bin/env python3
"""How late does a new process start while others outside and a control group compete for all processors?

No Serpentry in it: this is what the kernel does by itself, and what `serpentry status` then meets. Of groups with equal shares, one
burns and one mostly sleeps; they are either siblings of what runs outside (flat) or in a group of their own (nested). Outside run
as many busy loops as given. Arms take turns in every round. Needs root and the `cpu` controller of control groups, version 1.

    python3 bench/late_starts.py [--rounds 3] [--seconds 10] [--outside 8]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from environment import machine

CPU = Path("/sys/fs/cgroup/cpu")
BURN = "import time\nend = time.monotonic() + {0}\nwhile time.monotonic() < end: pass"
SLEEP = "import time\nend = time.monotonic() + {0}\nwhile time.monotonic() < end: time.sleep(0.005); sum(range(3000))"


@contextlib.contextmanager
def groups(nested: bool) -> Iterator[tuple[Path, Path]]:
    """Two empty groups; they are removed again."""
    top = CPU / f"late-starts-{os.getpid()}"
    made = [top] if nested else []
    made += [top / name if nested else Path(f"{top}-{name}") for name in ("burns", "sleeps")]
    try:
        for path in made:
            path.mkdir()
        yield made[-2], made[-1]
    finally:
        for path in reversed(made):
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()


def measure(nested: bool, outside: int, seconds: float) -> list[float]:
    """Seconds that `true` takes, again and again."""
    processes = []

    def start(code: str, group: Path | None = None) -> None:
        # They end by themselves, whatever happens here.
        process = subprocess.Popen([sys.executable, "-c", code.format(seconds + 2)])
        processes.append(process)
        if group is not None:
            (group / "cgroup.procs").write_text(str(process.pid))

    with groups(nested) as (burns, sleeps):
        try:
            for _ in range(2 * (os.cpu_count() or 1)):
                start(BURN, burns)
            start(SLEEP, sleeps)
            for _ in range(outside):
                start(BURN)
            time.sleep(1)
            took, end = [], time.monotonic() + seconds
            while time.monotonic() < end:
                began = time.monotonic()
                subprocess.run(["true"], check=True)
                took.append(time.monotonic() - began)
                time.sleep(0.05)
            return took
        finally:
            for process in processes:
                process.kill()
                process.wait()
            # A group is empty a moment after its last process was waited for.
            time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--outside", type=int, default=8, help="busy loops outside of the groups")
    options = parser.parse_args()
    if not os.access(CPU / "cgroup.procs", os.W_OK):
        sys.exit(f"late_starts: this needs root and {CPU}, the cpu controller of control groups of version 1")
    arms = {
        f"{'nested' if nested else 'flat'}, {outside} loops outside": (nested, outside)
        for nested in (False, True)
        for outside in (0, options.outside)
    }
    found: dict[str, list[list[float]]] = {name: [] for name in arms}
    for _ in range(options.rounds):
        for name in random.sample(list(arms), len(arms)):
            found[name].append(measure(*arms[name], options.seconds))
    where = machine()
    print(f"{where['processor']}, {where['cores']} cores, {where['kernel']}, {where['date']}")
    print("`true` took, in seconds: median of all; the longest of each round")
    for name, rounds in found.items():
        everything = sorted(took for one in rounds for took in one)
        longest = ", ".join(f"{max(one):.2f}" for one in rounds)
        print(f"{name:26} {everything[len(everything) // 2]:7.3f}   {longest}   ({len(everything)} starts)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
