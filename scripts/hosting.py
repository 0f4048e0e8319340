"""Runs `serpentry host` from outside: starts it, asks it through its own command line, leaves nothing behind.

Used by the demonstration, the drills and tests/host. It knows the contract only (what the program prints, its commands
and `status --json`), nothing of its insides. Every child carries this run's mark in its environment, which all
processes that it starts inherit: that is how they are found again in /proc, whatever became of their parents.
Linux only, standard library only.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUN_MARK = f"SERPENTRY_RUN={secrets.token_hex(16)}"
LISTENING = re.compile(r"^serpentry: listening on (?:http://([\d.]+):(\d+)|unix:(\S+))$", re.MULTILINE)
# Settings of the caller's shell that would change what is served.
NOT_INHERITED = (
    "PORT",
    "WEB_CONCURRENCY",
    "FORWARDED_ALLOW_IPS",
    "STATE_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH",
    "PYTHONHOME",
)
COMMAND_SECONDS = 150.0

# How long a host may take that was told to stop at once.
STOP_AT_ONCE = 10.0


class HostError(Exception):
    """The program did not do what it should; the text says what, with the end of what it printed."""


class Host:
    """One running `serpentry host FILE`."""

    def __init__(
        self,
        program: Path,
        file: Path,
        state: Path,
        *,
        environment: dict[str, str] | None = None,
        flags: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        """`before` is put in front of the command; `state` must be what the file says."""
        self.program, self.file, self.state = program.resolve(), file, state
        self.name = secrets.token_hex(4)
        self.environment = marked(clean_environment() | {"NO_COLOR": "1"} | (environment or {}), self.name)
        self.output_path = file.parent / f"host-{self.name}.txt"
        self.command = [*before, str(self.program), "host", str(file), *flags]
        with self.output_path.open("wb") as output:
            self.child = subprocess.Popen(
                self.command,
                cwd=file.parent,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the caller, which then stops its children itself.
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        """The program itself: router and supervisor."""
        return self.child.pid

    @property
    def address(self) -> tuple[str, int] | str:
        """Where it listens: the first line about it."""
        match = LISTENING.search(self.output())
        if match is None:
            raise self.error("does not say where it listens")
        host, port, path = match.groups()
        return path if path else (host, int(port))

    def output(self) -> str:
        """All that it has printed."""
        return self.output_path.read_text(errors="replace")

    def error(self, text: str) -> HostError:
        """A HostError with the end of the output."""
        lines = "\n".join(f"  | {line}" for line in self.output().splitlines()[-40:]) or "  | (nothing)"
        return HostError(f"{text}\nits output ends with:\n{lines}")

    # ---- waiting ----

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 30.0, every: float = 0.02) -> Any:
        """Poll until the condition is true and return its value; HostError if it does not come, or the host ends."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if self.child.poll() is not None:
                raise self.error(f"ended with exit status {self.child.returncode} while waiting for: {what}")
            if time.monotonic() > deadline:
                raise self.error(f"not within {seconds:.0f} s: {what}")
            time.sleep(every)

    def wait_until_listening(self, seconds: float = 30.0) -> Host:
        """The listeners are open."""
        self.wait(lambda: LISTENING.search(self.output()), "the line that says where it listens", seconds)
        return self

    def wait_until_ready(self, seconds: float = 60.0) -> Host:
        """Every application has been ready, or has failed, for the first time."""
        self.wait_until_listening(seconds)
        self.wait(self._is_serving, "host.state is serving", seconds, every=0.1)
        return self

    def _is_serving(self) -> bool:
        done = self.run("status", "--json")
        return done.returncode == 0 and json.loads(done.stdout)["host"]["state"] == "serving"

    def wait_for_app(
        self, name: str, condition: Callable[[dict[str, Any]], Any], what: str, seconds: float = 30.0
    ) -> dict[str, Any]:
        """Poll `status` until the condition is true of the application; returns its status."""
        latest: dict[str, Any] = {}

        def holds() -> bool:
            latest.clear()
            latest.update(self.app(name))
            return bool(condition(latest))

        try:
            self.wait(holds, f"{name}: {what}", seconds, every=0.1)
        except HostError as error:
            raise HostError(f"{error}\nlatest status of {name}: {json.dumps(latest)}") from None
        return latest

    def wait_for_state(self, name: str, state: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until `status` has this state for the application."""
        return self.wait_for_app(name, lambda app: app["state"] == state, f"state {state!r}", seconds)

    def wait_for_output(self, pattern: str, seconds: float = 30.0) -> re.Match[str]:
        """Wait until the regular expression (multi-line) is found in the output."""
        compiled = re.compile(pattern, re.MULTILINE)
        found = self.wait(lambda: compiled.search(self.output()), f"{pattern!r} in the output", seconds)
        assert isinstance(found, re.Match)
        return found

    # ---- its command line ----

    def run(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """`serpentry ARGUMENTS --state ...`; never raises for an exit status."""
        return subprocess.run(
            [str(self.program), *arguments, "--state", str(self.state)],
            env=self.environment,
            cwd=self.file.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )

    def do(self, *arguments: str) -> str:
        """The same, and its standard output; HostError unless the exit status is 0."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise self.error(
                f"`serpentry {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done.stdout

    def status(self) -> dict[str, Any]:
        """`status --json`."""
        found = json.loads(self.do("status", "--json"))
        assert isinstance(found, dict)
        return found

    def app(self, name: str) -> dict[str, Any]:
        """One application of the status; HostError if it is not there."""
        for app in self.status()["apps"]:
            if app["name"] == name:
                return dict(app)
        raise self.error(f"there is no application {name!r} in the status")

    def serving_pids(self, name: str) -> list[int]:
        """The pids of the workers that take requests, oldest first."""
        return [worker["pid"] for worker in self.app(name)["workers"] if worker["state"] == "serving"]

    # ---- its end ----

    def stop(self, seconds: float = 30.0, number: signal.Signals = signal.SIGTERM) -> float:
        """The signal, then exit status 0 in time and no process left; returns the seconds it took."""
        started = time.monotonic()
        if self.child.poll() is not None:
            raise self.error(f"ended by itself, exit status {self.child.returncode}")
        self.child.send_signal(number)
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.error(f"still running {seconds:.0f} s after {number.name}") from None
        if status != 0:
            raise self.error(f"exit status {status} after {number.name}, instead of 0")
        if left := self.processes():
            raise self.error(f"left processes behind: {sorted(left)}")
        return time.monotonic() - started

    def kill(self) -> None:
        """End whatever is left; for the way out. It is told to stop at once and give back what it holds, and killed if it
        does not: then what it has mounted is taken away in its place."""
        for _ in range(2):
            if self.child.poll() is None:
                self.child.terminate()
                time.sleep(0.1)
        try:
            self.child.wait(timeout=STOP_AT_ONCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pid in self.processes():
            _kill(pid)
        unmount_below(self.state)

    def processes(self) -> set[int]:
        """Living processes that the host started, and their descendants; without itself."""
        return processes_marked(_mark_of(self.name)) - {self.child.pid}


def unmount_below(folder: Path) -> None:
    """Take away volumes that a killed host has left mounted below the folder."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        points = [line.split()[4] for line in table]
    for point in sorted(points, reverse=True):
        if Path(point).is_relative_to(folder.resolve()):
            subprocess.run(["umount", point], check=False)


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would change what is served."""
    return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}


def marked(environment: dict[str, str], name: str) -> dict[str, str]:
    """The environment with this run's mark and the name of the child that gets it."""
    variable, _, value = _mark_of(name).partition("=")
    return environment | {variable: value}


def kill_marked() -> None:
    """End every process of this run that is still there: told to stop first, at once, so that hosts give back what they hold
    (mounts, groups, networks), and killed if they do not."""
    for _ in range(2):
        left = processes_marked(RUN_MARK)
        for pid in left:
            _signal(pid, signal.SIGTERM)
        # The second is another order only when the first has been taken.
        time.sleep(0.1 if left else 0)
    deadline = time.monotonic() + STOP_AT_ONCE
    while processes_marked(RUN_MARK) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in processes_marked(RUN_MARK):
        _kill(pid)


def processes_marked(mark: str) -> set[int]:
    """Processes (no zombies) with this text in their environment."""
    pids = (entry for entry in os.listdir("/proc") if entry.isdigit())
    return {int(pid) for pid in pids if mark.encode() in _environment(pid) and is_running(int(pid))}


def is_running(pid: int) -> bool:
    """The process exists and is no zombie."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def memory_mib(pids: list[int]) -> float | None:
    """Memory of the processes in MiB, shared pages counted in proportion; None if /proc does not say."""
    total = 0.0
    for pid in pids:
        # The proportional size needs more rights than the resident size.
        size = memory_kib(pid, "Pss") or memory_kib(pid, "VmRSS")
        if size is None:
            return None
        total += size / 1024
    return total


def memory_kib(pid: int, name: str) -> int | None:
    """`Pss` (smaps_rollup) or `VmRSS` (status) of one process in KiB; None if /proc does not say."""
    file = "smaps_rollup" if name == "Pss" else "status"
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) if match else None


def _mark_of(name: str) -> str:
    return f"{RUN_MARK}-{name}"


def _kill(pid: int) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # Ended meanwhile; or its number already belongs to another user's process.


def _environment(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return b""  # Ended meanwhile, or another user's.
