#!/usr/bin/env python3
"""What isolation is worth and what it costs: `python3 bench/tenancy.py all`.

noise    an application with one pinned core, and the same application shared, beside four shared applications that
         each run 4 CPU burners, an fsync storm and a memory hog: its p50, p95 and p99 over its quiet values
start    from no worker to the first answer, shared and isolated, beside `crun run` of /bin/true; memory of a worker
report   write docs/tenancy-measured.md from the figures, with those of the tests (`tests/tenancy/run.py --json`) and of
         `scripts/drill_move.py --json` if they are there

Needs root. Standard library only. Everything runs on 127.0.0.1 and is stopped again. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "bench")]

import tenancy_noise  # noqa: E402
import tenancy_report  # noqa: E402
import tenancy_start  # noqa: E402
from any_user import reachable_python  # noqa: E402
from hosting import HostError, kill_marked  # noqa: E402

FOLDER = ROOT / "target/bench/tenancy"


def main() -> int:
    """Measure; the exit status is 0 when the measurements ran, whatever they say."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.geteuid() != 0:
        print("skipped: not root, so nothing can be isolated")
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    python = reachable_python(arguments.python)
    try:
        if arguments.part in ("all", "noise"):
            found = tenancy_noise.run(
                arguments.serpentry, FOLDER / "noise", python, arguments.repetitions, arguments.seconds, arguments.seed
            )
            save("noise", found)
        if arguments.part in ("all", "start"):
            found = tenancy_start.run(arguments.serpentry, FOLDER / "start", python, arguments.starts)
            save("start", found)
    except HostError as error:
        print(f"tenancy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tenancy: interrupted", file=sys.stderr)
        return 130
    finally:
        kill_marked()
    parts = {name: load(arguments.figures / f"{name}.json") for name in tenancy_report.PARTS}
    text = tenancy_report.text(parts)
    print(text)
    if arguments.part in ("all", "report") and arguments.markdown:
        # What programs said has paths in it, which are of this machine.
        arguments.markdown.write_text(text.replace(f"{ROOT}/", ""))
    return 0


def save(name: str, found: dict[str, object]) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1))


def load(path: Path) -> dict[str, object] | None:
    """Figures that were saved; None if there are none."""
    return json.loads(path.read_text()) if path.exists() else None


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/tenancy.py", description="What isolation is worth and what it costs.")
    parser.add_argument("part", choices=("all", "noise", "start", "report"))
    parser.add_argument("--repetitions", type=int, default=6, help="of noise, each with four blocks (default 6)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load in a block (default 10)")
    parser.add_argument("--starts", type=int, default=20, help="of start, each kind (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs/tenancy-measured.md", help="the report")
    parser.add_argument("--figures", type=Path, default=FOLDER, help="folder with the figures to report")
    parser.add_argument("--python", help="the applications' interpreter (default: one that every user can run)")
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry", help="the program")
    arguments = parser.parse_args()
    if not os.access(arguments.serpentry, os.X_OK):
        parser.error(f"needs a program at {arguments.serpentry} (`make build`)")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
