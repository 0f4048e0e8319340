#!/usr/bin/env python3
"""The demonstration: host the three examples from one file, use them, show what came back, stop cleanly, and find out
how one of them is best hosted.

`make demo` runs it with the system's python3 (3.10 or newer, standard library only) after the release build. What it
needs goes under target/demo: a virtual environment for each example (kept for the next run, found by the file through
a link named .venv), the databases (made afresh), and a copy of examples/serpentry.toml that is edited while it runs.
Exit status 0 only if every answer was right and nothing was left behind. `--serve` hosts the file itself.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import toml_text
from demo_client import Client, WrongAnswer
from demo_visits import visit_feed, visit_shop, visit_site
from hosting import Host, HostError, clean_environment, kill_marked, marked, memory_mib, unmount_below

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "demo"
FILE = ROOT / "examples" / "serpentry.toml"
# A quick comparison takes one to two and a half minutes.
COMPARE_SECONDS = 300


class DemoError(Exception):
    """The demonstration cannot go on; the text is for the user."""


@dataclass
class Example:
    """One folder under examples/, and how to prepare and use it. How it is served is in the file."""

    name: str
    framework: str
    visit: Callable[[Client, int], None]
    prepare: list[str] = field(default_factory=list)
    visits: int = 0

    @property
    def folder(self) -> Path:
        """Where the application's code is."""
        return ROOT / "examples" / self.name

    @property
    def environment(self) -> Path:
        """Its virtual environment."""
        return TARGET / "venvs" / self.name

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.environment / "bin" / "python"


def examples(password: str) -> list[Example]:
    """The three examples."""
    visit = functools.partial(visit_site, password=password)
    return [
        Example("shop", "Flask", visit_shop),
        Example("site", "Django", visit, prepare=["manage.py", "setup"]),
        Example("feed", "FastAPI", visit_feed),
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
    started: list[Host] = []
    try:
        if not os.access(arguments.serpentry, os.X_OK):
            raise DemoError(f"there is no program at {arguments.serpentry}; run `make build` first")
        if arguments.serve:
            serve(arguments.serpentry)
        demonstrate(arguments.serpentry, started)
    except (DemoError, HostError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        # A second Ctrl-C must not leave children behind: what follows takes some seconds at most.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for host in started:
            host.kill()
        kill_marked()
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Host the examples and send requests to them.")
    parser.add_argument(
        "--serpentry",
        type=Path,
        default=ROOT / "target" / "release" / "serpentry",
        help="the program to run (default: target/release/serpentry)",
    )
    parser.add_argument("--serve", action="store_true", help="only host examples/serpentry.toml")
    return parser.parse_args()


def exit_on_signal(number: int, _frame: object) -> NoReturn:
    """Leave through the clean-up."""
    raise SystemExit(128 + number)


def variables(password: str = "") -> dict[str, str]:
    """The environment of the host, and through it of the applications."""
    return clean_environment() | ({"SITE_DEMO_PASSWORD": password} if password else {})


def serve(serpentry: Path) -> NoReturn:
    """Become `serpentry host` of the examples' own file; its changes take effect when it is saved."""
    environment = variables()
    for example in examples(""):
        prepare(example, environment, FILE.parent / ".serpentry", show=True)
    for path in ("shop/", "site/", "feed/docs"):
        print(f"http://127.0.0.1:8000/{path}")
    command = [str(serpentry), "host", str(FILE), "--watch"]
    os.execve(serpentry, command, environment)


def demonstrate(serpentry: Path, started: list[Host]) -> None:
    """Everything in order; the host is added to `started`, so that the caller can end it."""
    password = secrets.token_urlsafe(12)
    environment = variables(password)
    all_examples = examples(password)
    file, state = copy_file()
    for example in all_examples:
        prepare(example, environment, state)
    print(f"\n$ serpentry host {file.relative_to(ROOT)}    # examples/serpentry.toml, on a free port")
    host = Host(serpentry, file, state, environment=environment)
    started.append(host)
    host.wait_until_ready()
    print("\n".join(line for line in host.output().splitlines() if " ready" in line or "listening" in line))
    clients = []
    for example in all_examples:
        clients.append(visit(host, example))
    show(host, "status")
    move(host, all_examples, clients)
    reload(host, clients[0])
    show(host, "logs", "-n", "8", "shop")
    workers = [pid for app in host.status()["apps"] for pid in host.serving_pids(app["name"])]
    print(f"\nmemory: host {mebibytes([host.pid])} MiB, {len(workers)} workers {mebibytes(workers)} MiB")
    for client in clients:
        client.close()
    print(f"SIGTERM: exit status 0 after {host.stop():.2f} s, no process left")
    milliseconds = [duration for client in clients for duration in client.milliseconds]
    print(
        f"\ndemo: all good: {len(milliseconds)} exchanges with {len(clients)} applications of one host, every answer "
        f"as expected, median {statistics.median(milliseconds):.1f} ms"
    )
    compare(serpentry, file, environment)


def compare(serpentry: Path, file: Path, environment: dict[str, str]) -> None:
    """How should the shop be hosted? Measured on a copy of it, on a host of its own."""
    if os.geteuid() != 0:
        print("\nnot shown: serpentry compare, which needs root to isolate applications")
        return
    report = TARGET / "compare-shop.html"
    report.unlink(missing_ok=True)
    print(f"\n$ serpentry compare shop --quick --report {report.relative_to(ROOT)}")
    began = time.monotonic()
    command = [str(serpentry), "compare", "shop", "--quick", "--file", str(file), "--report", str(report)]
    child = subprocess.Popen(command, cwd=file.parent, env=marked(environment, "compare"), stdin=subprocess.DEVNULL)
    try:
        status = child.wait(COMPARE_SECONDS)
    except BaseException as error:
        # It puts the machine back.
        child.send_signal(signal.SIGINT)
        child.wait(30)
        if isinstance(error, subprocess.TimeoutExpired):
            raise DemoError(f"`serpentry compare` was not done after {COMPARE_SECONDS} s") from error
        raise
    if status != 0:
        raise DemoError(f"`serpentry compare` ended with exit status {status}")
    if "</html>" not in report.read_text():
        raise DemoError(f"{report} is not complete")
    print(f"\nthe page with its plots: {report}  ({time.monotonic() - began:.0f} s)")


def prepare(example: Example, environment: dict[str, str], state: Path, show: bool = False) -> None:
    """Make the virtual environment and the database, as far as they are not there. The database is where the host will
    give the application a directory of its own: once that is a volume, it is there already."""
    make_environment(example)
    data = state / "data" / example.name
    volume = state / "volumes" / f"{example.name}.img"
    environment = environment | {"SERPENTRY_DATA": str(data)}
    link = example.folder / ".venv"
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise DemoError(f"{link} is not what this program has made: move it away")
    link.symlink_to(os.path.relpath(example.environment, example.folder))
    if example.prepare and not volume.exists():
        data.mkdir(parents=True, exist_ok=True)
        output = run_step(
            f"{example.name}: {' '.join(example.prepare)}",
            [str(example.python), *example.prepare],
            example,
            environment,
        )
        if show:
            print(output, end="")


def make_environment(example: Example) -> None:
    """Make the example's virtual environment, unless it is there with these very requirements."""
    folder = example.environment
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
    environment = clean_environment()
    venv = [sys.executable, "-m", "venv", str(folder)]
    run_step(f"{example.name}: making a virtual environment", venv, example, environment)
    pip = [str(example.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    install = [*pip, "-r", str(requirements)]
    run_step(f"{example.name}: installing {example.framework}", install, example, environment)
    # Written last: without it, an interrupted installation is made again.
    stamp.write_text(digest)


def run_step(title: str, command: list[str], example: Example, environment: dict[str, str]) -> str:
    """Run a command of the preparation to its end; its output is shown only if it fails."""
    print(title)
    process = subprocess.Popen(
        command,
        cwd=example.folder,
        env=marked(environment, example.name),
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
    return output


def copy_file() -> tuple[Path, Path]:
    """A copy of the examples' file for this run, and its state directory: a free port, the folders where they are."""
    folder = TARGET / "run"
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = replace_once(FILE.read_text(), "127.0.0.1:8000\"]", "127.0.0.1:0\"]")
    for name in ("shop", "site", "feed"):
        text = replace_once(text, f'directory = "{name}"', f'directory = "{ROOT / "examples" / name}"')
    if os.cpu_count() == 1:
        # The only core can be nobody's own: a part of its time can.
        text = replace_once(text, "[defaults.limits]\n", "[defaults.limits]\ncpu = 0.5\n")
    file = folder / "serpentry.toml"
    file.write_text(text)
    return file, folder / ".serpentry"


def replace_once(text: str, old: str, new: str) -> str:
    """The text with its one `old` replaced; DemoError if there is none or another."""
    if text.count(old) != 1:
        raise DemoError(f"{FILE.name} has {text.count(old)} times {old!r}, instead of once")
    return text.replace(old, new)


def visit(host: Host, example: Example) -> Client:
    """Send the example's requests; DemoError at the first wrong answer."""
    listening = host.address
    assert isinstance(listening, tuple)
    address, port = listening
    print(f"\n{example.name} ({example.framework}) at http://{address}:{port}/{example.name}")
    client = Client(address, port, prefix=f"/{example.name}")
    try:
        example.visits += 1
        example.visit(client, example.visits)
    except WrongAnswer as error:
        raise DemoError(str(host.error(f"{example.name}: wrong answer: {error}"))) from error
    return client


def move(host: Host, all_examples: list[Example], clients: list[Client]) -> None:
    """Each application for a while in the other tenancy, with what it has written, and back."""
    for example in all_examples:
        show(host, "move", example.name, "isolated")
        clients.append(visit(host, example))
        show(host, "status", example.name)
        show(host, "move", example.name, "shared")


def reload(host: Host, shop: Client) -> None:
    """Edit the file while the host runs: a new name for the shop, then a mistake."""
    good = host.file.read_text()
    edited = replace_once(good, "The Kitchen Shop", "The Garden Shop")
    print("\nedited: the shop's name in its `env`")
    toml_text.replace_file(host.file, edited)
    try:
        shop.get("/", contains="The Kitchen Shop")
        show(host, "reload")
        shop.get("/", contains="The Garden Shop")
        print("\nedited again, with a mistake")
        toml_text.replace_file(host.file, replace_once(edited, "workers = 1 ", "workrs = 1 "))
        show(host, "reload", status=None)
        shop.get("/", contains="The Garden Shop")
        toml_text.replace_file(host.file, edited)
    except WrongAnswer as error:
        raise DemoError(str(host.error(f"reload: wrong answer: {error}"))) from error


def show(host: Host, *arguments: str, status: int | None = 0) -> None:
    """Run a command of the program and print what it says; `status` None: it must be refused."""
    print(f"\n$ serpentry {' '.join(arguments)}")
    done = host.run(*arguments)
    for line in (done.stdout + done.stderr).splitlines():
        print(f"  {line}")
    if status is None and done.returncode in (0, 70) or status is not None and done.returncode != status:
        raise DemoError(f"`serpentry {arguments[0]}` ended with exit status {done.returncode}")


def mebibytes(pids: list[int]) -> str:
    """The memory of the processes as text, or `-` where it cannot be read."""
    size = memory_mib(pids)
    return "-" if size is None else f"{size:.1f}"


if __name__ == "__main__":
    sys.exit(main())
