#!/usr/bin/env python3
"""The drill of moves: applications move between shared and isolated under load, and no request may fail.

Two applications (WSGI and ASGI) are moved by `serpentry move`, in turn, there and back, while clients use them and one
that stays. After each move the status must say the new tenancy, and the workers that serve must be other processes that
really are where they should be: in a network namespace of their own when isolated, in the host's when shared. Failed
requests must be 0; how long a move takes is reported.

    python3 scripts/drill_move.py                 200 moves
    python3 scripts/drill_move.py --moves 20      what `make test` runs
    python3 scripts/drill_move.py --json FILE     figures for docs/tenancy-measured.md

Exit status 0 if no request failed and every move arrived. Needs root. Leaves nothing behind, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import toml_text
from any_user import reachable_python
from drill_load import Board, Load, Outcome, Target
from hosting import Host, HostError, kill_marked

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target/drill/move"
APPS = ROOT / "tests/host/apps"
MOVERS = ("wsgi", "asgi")
STAYER = "stays"


class Drill:
    """One run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        file, state = FOLDER / "serpentry.toml", FOLDER / "state"
        python = reachable_python(arguments.python)
        common = {"directory": str(APPS), "python": python, "app": "plain:app"}
        small = {"cpu": 0.5, "memory": "128MiB", "disk_space": "32MiB"}
        env = {"MARK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        apps: dict[str, dict[str, Any]] = {
            "wsgi": {**common, "workers": 2, "limits": small},
            "asgi": {**common, "app": "plain:asgi", "limits": small},
            STAYER: {**common},
        }
        for name, app in apps.items():
            app |= {"routes": [f"/{name}"], "env": {**env, "NAME": name}}
        file.write_text(toml_text.document({"listen": ["127.0.0.1:0"], "state": str(state)}, apps))
        self.host = Host(arguments.serpentry, file, state, environment={"PYTHONDONTWRITEBYTECODE": "1"})
        self.targets = [Target(name, "any.example", f"/{name}", posts=True, clients=4) for name in apps]
        self.board = Board(self.targets)
        self.load: Load | None = None
        self.tenancy = dict.fromkeys(MOVERS, "shared")
        self.seconds: dict[str, list[float]] = {"isolated": [], "shared": []}
        self.problems: list[str] = []

    def run(self) -> dict[str, Outcome]:
        """Everything; the outcomes by application."""
        self.host.wait_until_ready(60)
        address = self.host.address
        assert isinstance(address, tuple)
        self.load = Load(address, self.targets, self.board, self.arguments.think_ms / 1000)
        for target in self.targets:
            self.board.raise_floor(target.name, 1)
            self.board.set_present(target.name, True)
        self.load.start()
        time.sleep(1.0)
        for number in range(self.arguments.moves):
            self.move(number)
        time.sleep(1.0)
        return self.load.finish()

    def move(self, number: int) -> None:
        """Move one application to where it is not, and see it there."""
        name = MOVERS[number % len(MOVERS)]
        goal = "shared" if self.tenancy[name] == "isolated" else "isolated"
        before = set(self.host.serving_pids(name))
        started = time.monotonic()
        done = self.host.run("move", name, goal, "--json")
        took = time.monotonic() - started
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()
            raise HostError(f"move {number + 1}: {name} to {goal} ended with {done.returncode}: {said}")
        json.loads(done.stdout)
        self.tenancy[name] = goal
        self.seconds[goal].append(took)
        wrong = self._wrong(name, goal, before)
        if wrong:
            self.problems.append(f"move {number + 1}: {name} to {goal}: {wrong}")
        if (number + 1) % 20 == 0 or wrong:
            print(f"move {number + 1:3}: {name} to {goal} after {took * 1000:.0f} ms {wrong}")

    def _wrong(self, name: str, goal: str, before: set[int]) -> str:
        """What is not as it should be after the move; nothing if all is well."""
        told = self.host.app(name)["tenancy"]
        if told != goal:
            return f"the status says {told}"
        pids = set(self.host.serving_pids(name))
        if not pids or pids & before:
            return f"workers {sorted(before)} became {sorted(pids)}"
        here = network_namespace(self.host.pid)
        inside = {network_namespace(pid) for pid in pids}
        if goal == "isolated" and here in inside:
            return "a worker is in the network namespace of the host"
        if goal == "shared" and inside != {here}:
            return "a worker is still in a network namespace of its own"
        return ""

    def end(self) -> None:
        """Kill whatever is left of it."""
        if self.load is not None:
            self.load.end()
        self.host.kill()


def network_namespace(pid: int) -> str:
    """Its name, as the kernel has it; empty if the process has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def main() -> int:
    """Run the drill; returns the exit status."""
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if os.geteuid() != 0:
        print("skipped: not root, so nothing can be isolated")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    drill = None
    try:
        drill = Drill(arguments)
        outcomes = drill.run()
        print(f"SIGTERM: exit status 0 after {drill.host.stop(40):.2f} s, no process left")
        return report(drill, outcomes)
    except (HostError, OSError, RuntimeError, ValueError) as error:
        print(f"drill_move: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("drill_move: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if drill is not None:
            drill.end()
        kill_marked()


def report(drill: Drill, outcomes: dict[str, Outcome]) -> int:
    """Figures and verdict; the exit status."""
    figures: dict[str, Any] = {"moves": drill.arguments.moves, "requests": {}, "seconds": {}}
    for name, outcome in outcomes.items():
        count = len(outcome.seconds)
        quantiles = [outcome.quantile_ms(share) for share in (0.5, 0.99, 1.0)]
        figures["requests"][name] = {"answered": count, "failed": outcome.failed, "ms": quantiles}
        print(
            f"{name}: {count} answered, {outcome.failed} failed; "
            f"p50 {quantiles[0]:.1f}, p99 {quantiles[1]:.1f}, longest {quantiles[2]:.1f} ms"
        )
        for at, text in outcome.failures:
            print(f"  FAILED {name} at {at:.2f} s {text}")
        if not count:
            drill.problems.append(f"{name} got no requests")
    for goal, seconds in drill.seconds.items():
        ordered = sorted(seconds)
        if ordered:
            parts = [ordered[0], ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]]
            figures["seconds"][goal] = parts
            shown = ", ".join(f"{it * 1000:.0f}" for it in parts)
            print(f"{len(ordered)} moves to {goal}: shortest, median, p95, longest: {shown} ms")
    failed = sum(outcome.failed for outcome in outcomes.values())
    if failed:
        drill.problems.append(f"{failed} requests failed")
    for problem in drill.problems:
        print(f"PROBLEM: {problem}")
    if drill.arguments.json:
        drill.arguments.json.write_text(json.dumps(figures | {"failed": failed}, indent=1))
    print("drill_move: " + ("FAILED" if drill.problems else "all good"))
    return 1 if drill.problems else 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Move applications under load; no request may fail.")
    parser.add_argument("--moves", type=int, default=200, help="how often (default 200)")
    parser.add_argument("--think-ms", type=float, default=20.0, help="mean pause of a client (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--python", help="the interpreter (default: one that every user can run)")
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry", help="the program")
    arguments = parser.parse_args()
    if arguments.moves < 2 or not os.access(arguments.serpentry, os.X_OK):
        parser.error(f"needs two moves, and a program at {arguments.serpentry} (`make build`)")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
