#!/usr/bin/env python3
"""Run the tests of `serpentry host` (tests/host): many applications from one file, driven from outside.

They need the finished program (`make build`) and share the environment of the black-box tests. Arguments are passed on
to pytest, for example `-k reload` or `--serpentry PATH`. Those of the laboratory come last and by themselves: they measure,
and look at all control groups of the machine.
"""

from __future__ import annotations

import subprocess
import sys

from blackbox import ROOT, SIDE_BY_SIDE, environment

TESTS = ROOT / "tests/host"
LABORATORY = tuple(str(TESTS / name) for name in ("test_compare.py", "test_plan.py"))
# pytest's exit status when nothing was selected (by `-k`).
NOTHING = 5


def main() -> int:
    others = [*SIDE_BY_SIDE, *(f"--ignore={path}" for path in LABORATORY), str(TESTS)]
    command = [str(environment()), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfEs"]
    statuses = {subprocess.run([*command, *some, *sys.argv[1:]], cwd=ROOT).returncode for some in (others, LABORATORY)}
    return max(statuses - {NOTHING}, default=NOTHING)


if __name__ == "__main__":
    sys.exit(main())
