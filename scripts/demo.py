#!/usr/bin/env python3
"""The demonstration: serve the three examples, use them, show what came back, stop cleanly.

`make demo` runs it with the system's python3 (3.10 or newer, standard library
only) after the release build. What it needs goes under target/demo: a virtual
environment for each example (kept for the next run) and the databases (made
afresh). Exit status 0 only if every answer was right and nothing was left behind.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import os
import secrets
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from demo_client import Client, WrongAnswer
from demo_host import GRACEFUL_SECONDS, Host, HostError, kill_marked, marked, memory_mib
from demo_visits import visit_feed, visit_shop, visit_site

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "demo"
START_SECONDS = 60.0
# Settings of the caller's shell that would change what is served.
NOT_INHERITED = ("PORT", "WEB_CONCURRENCY", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PYTHONHOME")


class DemoError(Exception):
    """The demonstration cannot go on; the text is for the user."""


@dataclass
class Example:
    """One folder under examples/, and how to serve and use it."""

    name: str
    framework: str
    app: str
    workers: int
    visit: Callable[[Client], None]
    settings: dict[str, str] = field(default_factory=dict)
    prepare: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the application's code is."""
        return ROOT / "examples" / self.name

    @property
    def python(self) -> Path:
        """The interpreter of the example's virtual environment."""
        return TARGET / "venvs" / self.name / "bin" / "python"

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment with the example's settings."""
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        return inherited | self.settings


@dataclass
class Served:
    """An example, the process that serves it, and the client that used it (None before)."""

    example: Example
    host: Host
    client: Client | None = None


def examples() -> list[Example]:
    """The three examples with this run's settings."""
    data = TARGET / "data"
    password = secrets.token_urlsafe(12)
    site = {"SITE_DATA": str(data / "site"), "SITE_DEMO_PASSWORD": password}
    return [
        Example("shop", "Flask", "shop:create_app()", 2, visit_shop, {"SHOP_DB": str(data / "shop.sqlite3")}),
        Example(
            "site",
            "Django",
            "site_project.wsgi:application",
            2,
            functools.partial(visit_site, password=password),
            site,
            prepare=["manage.py", "setup"],
        ),
        # One worker: the feed lives in its memory.
        Example("feed", "FastAPI", "feed.main:app", 1, visit_feed),
    ]


def main() -> int:
    """Run the demonstration; returns the exit status."""
    if sys.version_info < (3, 10):
        print("demo: this needs Python 3.10 or newer", file=sys.stderr)
        return 1
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, exit_on_signal)
    served: list[Served] = []
    try:
        if arguments.serve:
            serve_shop(arguments.serpentry)
        demonstrate(arguments.serpentry, served)
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        # A second Ctrl-C must not leave children behind: what follows takes some seconds at most.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for one in served:
            one.host.kill()
        kill_marked()
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve the examples and send requests to them.")
    parser.add_argument(
        "--serpentry",
        type=Path,
        default=ROOT / "target" / "release" / "serpentry",
        help="the program to run (default: target/release/serpentry)",
    )
    parser.add_argument("--serve", action="store_true", help="only serve the Flask example, on 127.0.0.1:8000")
    return parser.parse_args()


def exit_on_signal(number: int, _frame: object) -> NoReturn:
    """Leave through the clean-up."""
    raise SystemExit(128 + number)


def serve_shop(serpentry: Path) -> NoReturn:
    """Become `serpentry serve` of the Flask example."""
    (TARGET / "data").mkdir(parents=True, exist_ok=True)
    shop = next(example for example in examples() if example.name == "shop")
    make_environment(shop)
    arguments = ["serve", shop.app, "--chdir", str(shop.folder), "--python", str(shop.python), "--reload"]
    os.execve(serpentry, [str(serpentry), *arguments], {**os.environ, **shop.environment})


def demonstrate(serpentry: Path, served: list[Served]) -> None:
    """Everything in order; what was started is added to `served`, so that the caller can end it."""
    if not os.access(serpentry, os.X_OK):
        raise DemoError(f"there is no program at {serpentry}; run `make build` first")
    shutil.rmtree(TARGET / "data", ignore_errors=True)
    (TARGET / "data").mkdir(parents=True)
    all_examples = examples()
    for example in all_examples:
        make_environment(example)
        if example.prepare:
            title = f"{example.name}: {' '.join(example.prepare)}"
            run_step(title, [str(example.python), *example.prepare], example)
    print()
    for example in all_examples:
        served.append(Served(example, start(serpentry.resolve(), example)))
    for one in served:
        wait_until_ready(one)
    for one in served:
        visit(one)
    print_table(served)
    for one in served:
        stop(one)
    total = sum(len(one.client.milliseconds) for one in served if one.client)
    print(f"\ndemo: all good: {total} exchanges with {len(served)} applications, every answer as expected")


def make_environment(example: Example) -> None:
    """Make the example's virtual environment, unless it is there with these very requirements."""
    folder = TARGET / "venvs" / example.name
    requirements = example.folder / "requirements.txt"
    # The folder and the interpreter are part of it: an environment works only where it was made.
    identity = "\n".join([requirements.read_text(), sys.version, sys.executable, str(folder)])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    stamp = folder / ".requirements.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        print(f"{example.name}: the virtual environment is up to date")
        return
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        raise DemoError("this Python cannot make virtual environments: install python3-venv")
    shutil.rmtree(folder, ignore_errors=True)
    venv = [sys.executable, "-m", "venv", str(folder)]
    run_step(f"{example.name}: making a virtual environment", venv, example)
    pip = [str(example.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run_step(f"{example.name}: installing {example.framework}", [*pip, "-r", str(requirements)], example)
    # Written last: without it, an interrupted installation is made again.
    stamp.write_text(digest)


def run_step(title: str, command: list[str], example: Example) -> None:
    """Run a command of the preparation to its end; its output is shown only if it fails."""
    print(title)
    process = subprocess.Popen(
        command,
        cwd=example.folder,
        env=marked(example.environment, example.name),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        # The command may have started others: end its whole group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        raise DemoError(f"{title}: exit status {process.returncode}\n{output}")


def start(serpentry: Path, example: Example) -> Host:
    """Start `serpentry serve` for the example on a free port."""
    flags = ["--bind", "127.0.0.1:0", "--workers", str(example.workers)]
    flags += ["--graceful-timeout", f"{GRACEFUL_SECONDS}s"]
    print(f"$ cd examples/{example.name} && {serpentry.name} serve {shlex.join([example.app, *flags])}")
    command = [str(serpentry), "serve", example.app, *flags, "--python", str(example.python)]
    return Host(example.name, command, example.environment, example.folder)


def wait_until_ready(one: Served) -> None:
    """Wait for the host's two lines; DemoError with its output if they do not come."""
    try:
        one.host.wait_until_ready(START_SECONDS)
    except HostError as error:
        raise DemoError(with_output(one, str(error))) from error


def visit(one: Served) -> None:
    """Send the example's requests; DemoError at the first wrong answer."""
    host, port = one.host.address
    print(f"\n{one.example.name} ({one.example.framework}) at http://{host}:{port}")
    one.client = Client(host, port)
    try:
        one.example.visit(one.client)
    except WrongAnswer as error:
        raise DemoError(with_output(one, f"wrong answer: {error}")) from error
    finally:
        one.client.close()


def stop(one: Served) -> None:
    """Stop the host and check how it went; DemoError if it was not clean."""
    try:
        seconds = one.host.stop()
    except HostError as error:
        raise DemoError(with_output(one, str(error))) from error
    print(f"{one.example.name}: SIGTERM, exit status 0 after {seconds:.2f} s, no process left")


def with_output(one: Served, text: str) -> str:
    """The text, with the name of the example and what its host has printed so far."""
    output = "\n".join(f"  | {line}" for line in one.host.output) or "  | (nothing)"
    return f"{one.example.name}: {text}\nits output:\n{output}"


def print_table(served: list[Served]) -> None:
    """Show the state of every application after its visit."""
    heads = ["app", "interface", "concurrency", "workers", "worker pids", "answered", "median ms"]
    rows = [[*heads, "router MiB", "workers MiB"]]
    for one in served:
        durations = one.client.milliseconds if one.client else []
        pids = one.host.worker_pids
        rows.append(
            [
                one.example.name,
                one.host.interface,
                one.host.concurrency,
                str(len(pids)),
                " ".join(map(str, pids)),
                str(len(durations)),
                f"{statistics.median(durations):.1f}",
                mebibytes([one.host.pid]),
                mebibytes(pids),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()


def mebibytes(pids: list[int]) -> str:
    """The memory of the processes as text, or `-` where it cannot be read."""
    size = memory_mib(pids)
    return "-" if size is None else f"{size:.1f}"


if __name__ == "__main__":
    sys.exit(main())
