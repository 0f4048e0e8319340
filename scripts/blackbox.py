#!/usr/bin/env python3
"""Run the black-box tests: make their virtual environment if needed, then pytest against a server.

    python3 scripts/blackbox.py                 against target/release/serpentry
    python3 scripts/blackbox.py --prove         against gunicorn (sync, gthread) and uvicorn: proves the tests
    python3 scripts/blackbox.py -- -k websocket other arguments for pytest after "--"

The environment is target/blackbox/venv; it is made again only when tests/blackbox/requirements.txt or the
Python version changes. Exit code: 0 if everything passed, 1 if not, 2 if this Python is too old.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests/blackbox"
PEERS = ("gunicorn", "gunicorn-gthread", "uvicorn")
# Tests that start processes of their own and mostly wait for them. Whoever runs out of tests takes some of another's;
# `-n 0` after these runs them one by one.
SIDE_BY_SIDE = ("-n", "4", "--dist", "worksteal")


def environment() -> Path:
    """The python of the environment with all requirements installed."""
    folder = ROOT / "target/blackbox/venv"
    stamp = folder / "requirements.stamp"
    wanted = hashlib.sha256((TESTS / "requirements.txt").read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin/python"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print("blackbox: making target/blackbox/venv", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    subprocess.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            TESTS / "requirements.txt",
        ],
        check=True,
    )
    stamp.write_text(wanted)
    return python


def run(python: Path, server: str, program: str, more: list[str]) -> int:
    print(f"blackbox: {server}", file=sys.stderr, flush=True)
    command = [
        str(python),
        "-m",
        "pytest",
        str(TESTS),
        "--server",
        server,
        "--serpentry",
        program,
        "-q",
        "-rfEsx",
        "-p",
        "no:cacheprovider",
        *SIDE_BY_SIDE,
        *more,
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    if sys.version_info < (3, 10):
        print(f"blackbox: needs Python 3.10 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prove", action="store_true", help="run against the peers instead of serpentry")
    parser.add_argument("--server", choices=("serpentry", *PEERS), default="serpentry")
    parser.add_argument("--serpentry", default=str(ROOT / "target/release/serpentry"), metavar="PATH")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    python = environment()
    servers = PEERS if options.prove else (options.server,)
    codes = [run(python, server, options.serpentry, options.pytest) for server in servers]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
