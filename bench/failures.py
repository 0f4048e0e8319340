#!/usr/bin/env python3
"""The eleven faults of the matrix under other servers, and what their logs and clients say: `python3 bench/failures.py all`.

run      make each fault happen under gunicorn, Granian and uvicorn; figures and words to target/bench/failures
report   write docs/failures-compared.md from them, beside what `bench/faults.py matrix` measured for this program

The test application is the one of `serpentry drill`, the same bytes for all. The servers come from PyPI, at the versions of
bench/requirements.txt, into an environment of their own below target/. Needs root: limits of memory and processor are
control groups of version 1, a full disk is a small tmpfs; both are taken away again. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "bench")]

import failures_report  # noqa: E402
import failures_run  # noqa: E402

FOLDER = ROOT / "target/bench/failures"
SERVERS = ("gunicorn", "granian", "uvicorn")


def main() -> int:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if arguments.part in ("all", "run"):
        if os.geteuid() != 0:
            print("skipped: not root, so no limits can be set")
            return 0
        venv = prepare(arguments.python)
        source = subprocess.check_output([str(arguments.serpentry), "drill", "--source"], text=True)
        (FOLDER / "serpentry_drill.py").write_text(source)
        found = failures_run.run(venv, FOLDER, arguments.only, arguments.server)
        # What was not run again is as it was.
        again = {(it["fault"], it["server"]) for it in found["results"]}
        before = (load(FOLDER / "run.json") or {}).get("results", [])
        found["results"] += [it for it in before if (it["fault"], it["server"]) not in again]
        (FOLDER / "run.json").write_text(json.dumps(found, indent=1))
    if arguments.part in ("all", "report"):
        ours = load(ROOT / "target/bench/faults/matrix.json")
        found = load(FOLDER / "run.json")
        if found is None:
            print("failures: nothing was run yet", file=sys.stderr)
            return 1
        (ROOT / "docs/failures-compared.md").write_text(failures_report.text(found, ours))
    return 0


def prepare(python: str) -> Path:
    """The environment with the three servers."""
    venv = FOLDER / "venv"
    lines = (ROOT / "bench/requirements.txt").read_text().splitlines()
    wanted = [line.split("#")[0].strip() for line in lines if line.startswith((*SERVERS, "uvloop", "httptools"))]
    stamp = venv / "installed.txt"
    if not stamp.exists() or stamp.read_text().split() != wanted:
        print("failures: installing gunicorn, Granian and uvicorn", file=sys.stderr)
        subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True)
        stamp.write_text("\n".join(wanted))
    return venv


def load(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("all", "run", "report"))
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--only", action="append", default=[], help="only this fault; may be repeated")
    parser.add_argument("--server", action="append", default=[], choices=failures_run.SERVERS, help="only this server")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
