"""Measure serpentry against its peers: `python3 bench/run.py all`.

Everything runs on 127.0.0.1 with servers this program started and stops again. Progress goes to stderr, a
table of the budgets to stdout; `--json` keeps every figure and `--markdown` writes the report. The exit
status is 0 when the measurements ran, whatever they say: judging them is the reader's part.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import budgets
import environment
import kill
import memory
import mixed
import report
import servers
import throughput

PARTS = ("throughput", "mixed", "kill", "memory")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("all", *PARTS))
    parser.add_argument(
        "--quick", action="store_true", help="few and short rounds: about four minutes in all"
    )
    parser.add_argument("--rounds", type=int, help="rounds of throughput (5)")
    parser.add_argument(
        "--more", type=int, metavar="ROUNDS", help="further rounds for servers about as fast as serpentry (twice as many)"
    )
    parser.add_argument("--seconds", type=int, help="seconds of load per server and round of throughput (3)")
    parser.add_argument("--repetitions", type=int, help="repetitions of mixed (3)")
    parser.add_argument("--connections", type=int, help="idle connections of memory (10000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pin", action="store_true", help="servers on core 0, load on core 1")
    parser.add_argument("--only", default="", help="comma-separated names of servers, as in bench/servers.py")
    parser.add_argument(
        "--python", help="interpreter for the virtual environment (default: newest of 3.10 to 3.13)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the report, such as docs/benchmarks.md"
    )
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="put a part that is measured again into an earlier run's figures, which say so"
    )
    options = parser.parse_args()
    if options.into and options.part == "all":
        parser.error("--into takes one part")
    names = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in servers.SERVERS]
    if unknown:
        parser.error(f"unknown server {', '.join(unknown)}: choose from {', '.join(servers.SERVERS)}")
    options.only = names
    if options.part == "all" and not (options.quick or names):
        # The whole run, and only it, replaces the published report unless told where to write.
        options.markdown = options.markdown or environment.ROOT / "docs" / "benchmarks.md"
        options.json = options.json or environment.STATE / "results.json"
    return options


def measure(part: str, options: argparse.Namespace) -> dict:
    quick, seed, pin, only = options.quick, options.seed, options.pin, options.only
    if part == "throughput":
        rounds = options.rounds or (1 if quick else 5)
        more = 2 * rounds if options.more is None and not quick else options.more or 0
        return throughput.run(rounds, more, options.seconds or (2 if quick else 3), 1, seed, pin, only)
    if part == "mixed":
        return mixed.run(options.repetitions or (1 if quick else 3), 10 if quick else 30, seed, pin, only)
    if part == "kill":
        return kill.run({"GET": 5} if quick else {"GET": 20, "POST": 10}, seed, pin, only)
    return memory.run(1 if quick else 3, options.connections or (2000 if quick else 10000), only)


def main() -> int:
    options = arguments()
    missing = environment.missing_tools()
    for sentence in missing:
        print(f"bench: {sentence}", file=sys.stderr)
    if any(sentence.startswith("wrk ") for sentence in missing) and options.part in ("all", "throughput"):
        return 1
    failed = environment.prepare(options.python)
    missing += [f"{thing} cannot be installed or imported and is left out" for thing in failed]
    machine = environment.machine() | environment.versions()
    results: dict = {
        "machine": machine,
        "command": " ".join(sys.argv[1:]),
        "quick": options.quick,
        "missing": missing,
    }
    if options.into:
        results = json.loads(options.into.read_text())
        results["machine"][f"{options.part}, measured again"] = f"{machine['date']}, {machine['serpentry']}"
        options.json = options.json or options.into
    for part in PARTS if options.part == "all" else (options.part,):
        began = time.monotonic()
        print(f"bench: {part}", file=sys.stderr)
        results[part] = measure(part, options)
        results[part]["took_seconds"] = time.monotonic() - began
        # After each part, so that an interrupted run leaves what it has measured.
        write(results, options)
    for row in budgets.check(results):
        print(f"{row['verdict']:14s} {row['what']}: {row['measured']} (must: {row['must']})")
    return 0


def write(results: dict, options: argparse.Namespace) -> None:
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(report.markdown(results))


if __name__ == "__main__":
    # A terminated run stops its servers as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
