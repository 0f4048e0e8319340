#!/usr/bin/env python3
"""Run the worker's own tests (tests/worker): Python plays the router, no other part of the program takes part.

They need `cargo xtask worker` before. Arguments are passed on to pytest.
"""

from __future__ import annotations

import subprocess
import sys

from blackbox import ROOT, SIDE_BY_SIDE, environment


def main() -> int:
    if not (ROOT / "target/ext/boot.py").exists():
        print("worker tests: run `cargo xtask worker` first", file=sys.stderr)
        return 2
    command = [str(environment()), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *SIDE_BY_SIDE]
    return subprocess.run([*command, str(ROOT / "tests/worker"), *sys.argv[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
