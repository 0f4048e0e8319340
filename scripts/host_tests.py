#!/usr/bin/env python3
"""Run the tests of `serpentry host` (tests/host): many applications from one file, driven from outside.

They need the finished program (`make build`) and share the environment of the black-box tests. Arguments are passed on
to pytest, for example `-k reload` or `--serpentry PATH`.
"""

from __future__ import annotations

import subprocess
import sys

from blackbox import ROOT, environment


def main() -> int:
    tests = str(ROOT / "tests/host")
    command = [str(environment()), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfEs", tests]
    return subprocess.run([*command, *sys.argv[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
