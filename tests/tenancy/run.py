#!/usr/bin/env python3
"""Runs the tests of the two tenancy models: applications that try to break every constraint.

    python3 tests/tenancy/run.py                     isolated and shared, against the limits
    python3 tests/tenancy/run.py --prove             the same attacks without limits: each must get through
    python3 tests/tenancy/run.py -k memory --model isolated
    python3 tests/tenancy/run.py --list

Standard library only, CPython 3.10 or newer, Linux, root. Exit status 0 if everything held (or got through, with
`--prove`). What this machine cannot enforce, as `serpentry doctor --json` says, is printed as `skipped: reason`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "scripts")]
sys.dont_write_bytecode = True

from any_user import reachable_python  # noqa: E402
import world  # noqa: E402
from runner import Options, run_all  # noqa: E402


def main() -> int:
    """Run the cases; returns the exit status."""
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = arguments.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if not arguments.list:
        try:
            world.enter()
        except world.NoWorld as reason:
            print(f"no network of our own, so the machine's: {reason}")
    options = Options(
        program=arguments.serpentry,
        folder=folder,
        python=reachable_python(arguments.python),
        prove=arguments.prove,
        models=(arguments.model,) if arguments.model else ("isolated", "shared"),
        words=arguments.k,
        without=arguments.without,
        alone=arguments.alone,
        listing=arguments.list,
        json=arguments.json,
        killed=arguments.killed,
        steps=arguments.steps,
    )
    started = time.monotonic()
    status = run_all(options)
    if not arguments.list:
        print(f"after {time.monotonic() - started:.0f} s")
    return status


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Applications that try to break every constraint.")
    parser.add_argument("--prove", action="store_true", help="without limits: every attack must get through")
    parser.add_argument("--model", choices=("isolated", "shared"), help="only this one")
    parser.add_argument("-k", action="append", default=[], metavar="TEXT", help="only cases whose name has this text")
    parser.add_argument(
        "--without", action="append", default=[], metavar="TEXT", help="not the cases whose name has this text"
    )
    parser.add_argument("--list", action="store_true", help="print the cases and run nothing")
    parser.add_argument(
        "--killed", type=int, default=6, metavar="N", help="hosts to kill at random moments (default 6)"
    )
    parser.add_argument("--steps", action="store_true", help="also kill the start step by step (needs strace; minutes)")
    parser.add_argument("--alone", action="store_true", help="nobody else uses this machine: any leftover counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found, for docs/tenancy-measured.md")
    parser.add_argument("--folder", type=Path, default=ROOT / "target/tenancy", help="where hosts keep their files")
    parser.add_argument("--python", help="the applications' interpreter (default: one that every user can run)")
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry", help="the program")
    arguments = parser.parse_args()
    if not arguments.list:
        if not os.access(arguments.serpentry, os.X_OK):
            parser.error(f"needs a program at {arguments.serpentry} (`make build`)")
        if os.geteuid() != 0:
            print("skipped: not root, so nothing that needs the kernel is enforced")
            sys.exit(0)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
