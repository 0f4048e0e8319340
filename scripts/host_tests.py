#!/usr/bin/env python3
"""Run the tests of `serpentry host` (tests/host): many applications from one file, driven from outside.

They need the finished program (`make build`) and share the environment of the black-box tests. Arguments are passed on
to pytest, for example `-k reload` or `--serpentry PATH`. Those marked `alone` come last, one by one: they measure, look at all
control groups of the machine, or take its processors.
"""

from __future__ import annotations

import subprocess
import sys

from blackbox import ROOT, SIDE_BY_SIDE, environment

TESTS = str(ROOT / "tests/host")
# pytest's exit status when nothing was selected (by `-k`).
NOTHING = 5


def main() -> int:
    command = [str(environment()), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfEs", TESTS]
    parts = [[*SIDE_BY_SIDE, "-m", "not alone"], ["-m", "alone"]]
    statuses = {subprocess.run([*command, *part, *sys.argv[1:]], cwd=ROOT).returncode for part in parts}
    return max(statuses - {NOTHING}, default=NOTHING)


if __name__ == "__main__":
    sys.exit(main())
