#!/usr/bin/env python3
"""The drill of a host of many applications: everything changes under load, and no request may fail.

Ten applications (Flask, Django, FastAPI, plain WSGI and ASGI over three CPython versions; four routed by host, six by
path) are served from one file, under load from processes of their own, while the file is edited and reloaded again
and again (once in a while broken), workers are killed with SIGKILL, one application is scaled 1-4-1 by the command
line, and one goes to zero workers and back. Failed requests on applications that were not being removed must be 0.

    python3 scripts/drill.py                            60 seconds, 20 reloads
    python3 scripts/drill.py --seconds 15 --reloads 6   what `make test` runs

Exit status 0 if no request failed and everything happened as announced. Leaves nothing behind, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toml_text
from drill_load import Board, Load, Outcome
from drill_plan import KILLED, SCALED, SLEEPER, Edit, Plan
from drill_pythons import NoPython, environments
from hosting import Host, HostError, kill_marked

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target/drill"
APPS = ROOT / "tests/host/apps"
KILL_SECONDS = 1.5


class Drill:
    """One run: the host, the load, and what is done to them."""

    def __init__(self, arguments: argparse.Namespace, pythons: dict[str, Path]) -> None:
        self.arguments = arguments
        self.folder = TARGET / "run"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        state = self.folder / "state"
        host = {"listen": ["127.0.0.1:0"], "state": str(state)}
        self.plan = Plan(host, APPS, list(reversed(pythons.values())))
        self.file = self.folder / "serpentry.toml"
        self.file.write_text(self.plan.text())
        self.board = Board(self.plan.targets)
        environment = {"PYTHONDONTWRITEBYTECODE": "1"}
        self.host = Host(arguments.serpentry, self.file, state, environment=environment)
        self.load: Load | None = None
        self.stopping = threading.Event()
        self.problems: list[str] = []
        self.killed: Counter[str] = Counter()
        self.naps = 0
        self.scaled = False
        self.began = 0.0

    def run(self) -> dict[str, Outcome]:
        """Everything, until the load has ended; the outcomes by application."""
        self.host.wait_until_ready(120)
        address = self.host.address
        assert isinstance(address, tuple)
        states = {app["name"]: app["state"] for app in self.host.status()["apps"]}
        if bad := {name: state for name, state in states.items() if state not in ("serving", "asleep")}:
            raise self.host.error(f"after the start: {bad}")
        print(f"ten applications are ready; {self.arguments.seconds:.0f} s of load begin")
        # The clients are forked before there are threads.
        self.load = Load(address, self.plan.targets, self.board, self.arguments.think_ms / 1000)
        for name in self.plan.apps:
            self.board.raise_floor(name, 1)
            self.board.set_present(name, True)
        self.load.start()
        self.began = time.monotonic()
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self.kill, self.scale, self.nap)]
        for thread in threads:
            thread.start()
        try:
            self._guarded(self.reload)
            self.stopping.wait(max(0.0, self.began + self.arguments.seconds - time.monotonic()))
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(90)
        return self.load.finish()

    def end(self) -> None:
        """Kill whatever is left of it."""
        self.stopping.set()
        if self.load is not None:
            self.load.end()
        self.host.kill()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Problems of a thread are problems of the drill."""
        try:
            work()
        except (HostError, OSError, ValueError, KeyError, AssertionError) as error:
            self.problems.append(f"{work.__name__}: {error}")
            print(f"  PROBLEM {self.problems[-1]}", flush=True)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    # ---- what is done to the host ----

    def reload(self) -> None:
        """Edit the file and reload, evenly over the time."""
        count = self.arguments.reloads
        for number, make in enumerate(self.plan.edits(count)):
            due = self.began + (number + 1) * self.arguments.seconds / (count + 1)
            if self.stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._apply(number + 1, make())

    def _apply(self, number: int, edit: Edit) -> None:
        for name in edit.removed:
            self.board.set_present(name, False)
        toml_text.replace_file(self.file, edit.text)
        started = time.monotonic()
        done = self.host.run("reload")
        took = time.monotonic() - started
        answer = done.stdout + done.stderr
        verdict = "ok" if done.returncode == 0 else f"exit {done.returncode}"
        lines = [line for line in answer.strip().splitlines() if line.strip()] or ["(no answer)"]
        summary = lines[0] if edit.expected == "applied" else f"{lines[0]} ... {lines[-1].strip()}"
        self.say(f"reload {number:2}: {edit.title}: {verdict} after {took:.2f} s: {summary[:150]}")
        expected = done.returncode == 0 if edit.expected == "applied" else done.returncode not in (0, 70)
        missing = [text for text in edit.mentions if text not in answer]
        if not expected or missing:
            without = f", without {missing}" if missing else ""
            self.problems.append(f"reload {number} ({edit.title}): {verdict}{without}:\n{answer}")
        if edit.expected != "applied":
            # The good file is back before the next edit, as it would be.
            toml_text.replace_file(self.file, self.plan.text())
            return
        for name, mark in edit.marks.items():
            self.board.raise_floor(name, mark)
        for name in edit.added:
            self.board.raise_floor(name, 1)
            self.board.set_present(name, True)
        self._check_gone(edit.removed)

    def _check_gone(self, names: tuple[str, ...]) -> None:
        targets = {target.name: target for target in self.plan.targets}
        for name in names:
            target = targets[name]
            address = self.host.address
            assert isinstance(address, tuple)
            with socket.create_connection(address, 10) as connection:
                head = f"GET {target.prefix}/ HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode())
                status = connection.makefile("rb").readline().split(b" ")[1]
            if status not in (b"404", b"421"):
                self.problems.append(f"{name} is removed, and still answers {status.decode()}")

    def kill(self) -> None:
        """SIGKILL a worker of one of the applications that are meant for it, again and again."""
        choice = random.Random(self.arguments.seed)
        while not self.stopping.wait(KILL_SECONDS):
            name = KILLED[sum(self.killed.values()) % len(KILLED)]
            if pids := self.host.serving_pids(name):
                try:
                    os.kill(choice.choice(pids), signal.SIGKILL)
                except ProcessLookupError:
                    continue  # A reload came first.
                self.killed[name] += 1

    def scale(self) -> None:
        """1-4-1 by the command line."""
        for workers in (4, 1):
            if self.stopping.wait(self.arguments.seconds * 0.15):
                return
            self.host.do("scale", SCALED, str(workers))

            def reached(workers: int = workers) -> bool:
                return len(self.host.serving_pids(SCALED)) == workers

            self.host.wait(reached, f"{SCALED} has {workers} workers", 60, every=0.2)
            self.say(f"{SCALED} was scaled to {workers} and has {workers} workers")
        self.scaled = True

    def nap(self) -> None:
        """Let one application wake up, fall asleep and wake up again, as often as there is time."""
        for round_ in range(1000):
            self.board.set_quiet(SLEEPER, False)
            self._wait_for_sleeper(awake=True)
            if self.stopping.is_set():
                return
            self.say(f"requests have started {SLEEPER}, which had no process")
            self.naps = round_
            self.stopping.wait(1.0)
            self.board.set_quiet(SLEEPER, True)
            self._wait_for_sleeper(awake=False)

    def _wait_for_sleeper(self, awake: bool) -> None:
        def reached() -> bool:
            workers = self.host.app(SLEEPER)["workers"]
            return self.stopping.is_set() or any(it["state"] == "serving" for it in workers) == awake

        self.host.wait(reached, f"{SLEEPER} {'serves' if awake else 'has no worker that serves'}", 60, every=0.2)


def main() -> int:
    """Run the drill; returns the exit status."""
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    drill = None
    try:
        pythons = environments(3)
        drill = Drill(arguments, pythons)
        outcomes = drill.run()
        figures = {app["name"]: app for app in drill.host.status()["apps"]}
        seconds = drill.host.stop(40)
        print(f"SIGTERM: exit status 0 after {seconds:.2f} s, no process left")
        return report(drill, outcomes, figures, list(pythons))
    except (HostError, NoPython, RuntimeError) as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("drill: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if drill is not None:
            drill.end()
        kill_marked()


def report(drill: Drill, outcomes: dict[str, Outcome], figures: dict[str, dict[str, Any]], versions: list[str]) -> int:
    """Print the table and the verdict; the exit status."""
    heads = ["app", "requests", "failed", "p50 ms", "p99 ms", "max ms", "versions", "pids", "killed", "run again"]
    rows: list[list[str]] = [heads]
    for name, outcome in outcomes.items():
        marks = f"{min(outcome.marks)}-{max(outcome.marks)}" if outcome.marks else "-"
        quantiles = [f"{outcome.quantile_ms(share):.1f}" for share in (0.5, 0.99, 1.0)]
        replayed = figures.get(name, {}).get("requests", {}).get("replayed", "-")
        numbers = [len(outcome.seconds) + outcome.failed, outcome.failed]
        ends = [len(outcome.pids), drill.killed[name], replayed]
        rows.append([name, *map(str, numbers), *quantiles, marks, *map(str, ends)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for name, outcome in outcomes.items():
        for at, text in outcome.failures:
            print(f"  FAILED {name} at {at:.2f} s {text}")
    problems = list(drill.problems)
    failed = sum(outcome.failed for outcome in outcomes.values())
    total = sum(len(outcome.seconds) for outcome in outcomes.values()) + failed
    if failed:
        problems.append(f"{failed} of {total} requests failed")
    problems += [f"{name} got no requests" for name in drill.plan.first_apps if not outcomes[name].seconds]
    if not sum(drill.killed.values()):
        problems.append("no worker was killed")
    if not drill.scaled:
        problems.append(f"{SCALED} was not scaled 1-4-1 in time")
    if not drill.naps:
        problems.append(f"{SLEEPER} did not go to zero and back in time")
    print(
        f"\n{total} requests over CPython {', '.join(versions)}, {failed} failed; {drill.arguments.reloads} reloads, "
        f"{sum(drill.killed.values())} workers killed, {drill.naps} times to zero and back; not counted, because the "
        f"application was being removed: {sum(outcome.not_counted for outcome in outcomes.values())}"
    )
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print("drill: " + ("FAILED" if problems else "all good"))
    return 1 if problems else 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Change everything under load; no request may fail.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load (default 60, at least 10)")
    parser.add_argument("--reloads", type=int, default=20, help="how often the file is edited (default 20)")
    parser.add_argument("--think-ms", type=float, default=20.0, help="mean pause of a client (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice which worker is killed")
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry", help="the program")
    arguments = parser.parse_args()
    if arguments.seconds < 10 or not os.access(arguments.serpentry, os.X_OK):
        parser.error(f"needs at least 10 seconds and a program at {arguments.serpentry} (`make build`)")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
