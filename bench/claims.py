#!/usr/bin/env python3
"""The common claims on this machine, twice, and how often noise alone is conclusive: `python3 bench/claims.py all`.

claims   `serpentry claims --all`, as often as --runs says
again    the claims of --only once more, as one more run
aa       an application compared with itself (`serpentry claims --aa`)
state    is the machine afterwards as it was, also after kill -9 and `serpentry lab restore`? Prints every difference
report   write docs/claims.md from the figures

Needs root. Everything the program does is on loopback and put back. Figures go to target/bench/claims.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import claims_report
import claims_state

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target/bench/claims"


def main() -> int:
    """Measure; the exit status is 0 when the measurements ran, whatever they say, and the machine was left as it was."""
    arguments = parse_arguments()
    FOLDER.mkdir(parents=True, exist_ok=True)
    effort = ["--effort", arguments.effort]
    if arguments.part in ("all", "claims"):
        for number in range(1, arguments.runs + 1):
            # Another seed is another order of arms and other arrivals.
            measure(arguments.serpentry, f"run-{number}", "--all", "--seed", str(number), *effort)
    if arguments.part == "again":
        number = len(list(FOLDER.glob("run-*.json"))) + 1
        measure(arguments.serpentry, f"run-{number}", *arguments.only, "--seed", str(number), *effort)
    if arguments.part in ("all", "aa"):
        measure(arguments.serpentry, "aa", "--aa", str(arguments.comparisons), *effort)
    if arguments.part in ("all", "state") and claims_state.check(arguments.serpentry) != 0:
        return 1
    if arguments.part in ("all", "report"):
        runs = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("run-*.json"))]
        itself = FOLDER / "aa.json"
        page = claims_report.text(runs, json.loads(itself.read_text()) if itself.exists() else None)
        (ROOT / "docs/claims.md").write_text(page)
    return 0


def measure(program: Path, name: str, *what: str) -> None:
    """One run of the program; its exit status says more than whether it ran."""
    file, report = FOLDER / f"{name}.json", FOLDER / f"{name}.html"
    file.unlink(missing_ok=True)
    command: list[Any] = [program, "claims", *what, "--json", file, "--report", report]
    with (FOLDER / f"{name}.txt").open("w") as output:
        status = subprocess.run(command, stdout=output).returncode
    print(f"claims: {name}: exit status {status}", file=sys.stderr)
    if not file.exists() or not file.stat().st_size:
        raise SystemExit(f"claims: {name} left no figures, see {output.name}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("all", "claims", "again", "aa", "state", "report"))
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=["--all"], metavar="CLAIM", help="of `again` (default: all)")
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--effort", choices=("quick", "normal", "thorough"), default="normal")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
