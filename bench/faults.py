#!/usr/bin/env python3
"""How failures are explained, measured on real processes: `python3 bench/faults.py all`.

matrix   every fault of `serpentry drill`, in both tenancies, each on a host that knows nothing of the others: time from
         the fault to the recorded incident, how precise the explanation is, the sentence
mixed    faults in several applications of one host at once, at random: no incident may name an application or a code
         that nothing was done to
oom      one of four workers killed for want of memory under load: what its clients got
quiet    an hour of the three examples in use, with nothing wrong: no incident may be reported
report   write docs/faults-measured.md from the figures

Needs root for the isolated half. Standard library only. Everything runs on 127.0.0.1 and is stopped again. Progress goes
to stderr, figures to target/bench/faults.
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

import faults_matrix  # noqa: E402
import faults_mixed  # noqa: E402
import faults_oom  # noqa: E402
import faults_quiet  # noqa: E402
import faults_report  # noqa: E402
from hosting import HostError, kill_marked, marked  # noqa: E402

FOLDER = ROOT / "target/bench/faults"
PARTS = ("matrix", "mixed", "oom", "quiet")


def main() -> int:
    """Measure; the exit status is 0 when the measurements ran, whatever they say."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = arguments.part
    try:
        if part in ("all", "matrix"):
            matrix(arguments)
        if part in ("all", "mixed"):
            mixed(arguments)
        if part in ("all", "oom"):
            save("oom", faults_oom.run(arguments.serpentry, FOLDER / "oom", arguments.python))
        if part in ("all", "quiet"):
            found = faults_quiet.run(arguments.serpentry, arguments.minutes, arguments.pace, arguments.seed)
            found["note"] = arguments.note
            print(faults_quiet.say(found), file=sys.stderr)
            save("quiet", found)
    except HostError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("faults: interrupted", file=sys.stderr)
        return 130
    finally:
        kill_marked()
    if part in ("all", "report"):
        figures = {name: load(name) for name in PARTS}
        (ROOT / "docs/faults-measured.md").write_text(faults_report.text(figures))
    return 0


def matrix(arguments: argparse.Namespace) -> None:
    """Kept as they come: an interrupted run is a shorter one."""
    # With --only, what is not measured again is as it was.
    before = load("matrix") if arguments.only else None
    done = [it for it in (before or {}).get("drills", []) if it["fault"] not in arguments.only]
    load_before = os.getloadavg()[0]

    def keep(drill: dict[str, Any]) -> None:
        done.append(drill)
        about = {"repeat": arguments.repeat, "at_once": arguments.at_once, "note": arguments.note}
        save("matrix", {**about, "load": [load_before, os.getloadavg()[0]], "drills": done})

    faults_matrix.run(arguments.serpentry, arguments.python, arguments.repeat, arguments.at_once, arguments.only, keep)


def mixed(arguments: argparse.Namespace) -> None:
    rounds: list[dict[str, Any]] = []

    def keep(done: dict[str, Any]) -> None:
        rounds.append(done)
        rounds.sort(key=lambda it: it["round"])
        save("mixed", {"seed": arguments.seed, "at_once": arguments.at_once, "rounds": rounds})

    faults_mixed.run(arguments.serpentry, arguments.python, arguments.rounds, arguments.at_once, arguments.seed, keep)


def save(name: str, found: Any) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1))


def load(name: str) -> Any:
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("all", *PARTS, "report"))
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry")
    parser.add_argument("--python", default="python3", help="interpreter of the test applications")
    parser.add_argument("--repeat", type=int, default=10, help="of each fault in each tenancy")
    parser.add_argument("--only", action="append", default=[], help="only this fault; may be repeated")
    parser.add_argument("--rounds", type=int, default=100, help="of mixed faults")
    parser.add_argument("--minutes", type=float, default=60, help="of the quiet hour")
    parser.add_argument("--pace", type=float, default=1, help="of the quiet hour: everything so many times as often")
    parser.add_argument("--at-once", type=int, default=1, help="hosts, where that does not disturb the fault")
    parser.add_argument("--note", default="", help="what readers must know of this run; it stands above its figures")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
