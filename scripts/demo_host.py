"""Starts `serpentry serve`, watches it and makes sure that nothing of it is left.

Every child carries this run's mark in its environment, which all processes it
starts inherit: that is how they are found again in /proc, whatever became of
their parents. Linux only, standard library only.
"""

from __future__ import annotations

import os
import queue
import re
import secrets
import signal
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

RUN_MARK = f"SERPENTRY_DEMO_RUN={secrets.token_hex(16)}"
GRACEFUL_SECONDS = 10
LISTENING = re.compile(r"serpentry: listening on http://([\d.]+):(\d+)")
READY = re.compile(r"serpentry: ready: \d+ workers?, (\w+), (\w+) \(pids? ([\d ]+)\)")


class HostError(Exception):
    """The program did not start, or did not stop, as it should."""


def marked(environment: dict[str, str], name: str) -> dict[str, str]:
    """The environment with this run's mark and the name of the child that gets it."""
    variable, _, value = _mark_of(name).partition("=")
    return environment | {variable: value}


def kill_marked() -> None:
    """Kill every process of this run that is still there."""
    for pid in _marked_processes(RUN_MARK):
        _kill(pid)


class Host:
    """One running `serpentry serve`."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.address: tuple[str, int] = ("", 0)
        self.interface = self.concurrency = ""
        self.output: deque[str] = deque(maxlen=300)
        self._mark = _mark_of(name)
        self._workers: dict[int, str] = {}
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._child = subprocess.Popen(
            command,
            cwd=directory,
            env=marked(environment, name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C in the terminal is for the demonstration, which then stops its children itself.
            start_new_session=True,
        )
        threading.Thread(target=self._read_output, daemon=True).start()

    @property
    def pid(self) -> int:
        """The program itself: router and supervisor."""
        return self._child.pid

    @property
    def worker_pids(self) -> list[int]:
        """The workers named when the application became ready."""
        return list(self._workers)

    def wait_until_ready(self, seconds: float) -> None:
        """Wait for the address and the workers; HostError if they do not come in time."""
        deadline = time.monotonic() + seconds
        while not (self._workers and self.address[1]):
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise HostError(f"not ready after {seconds:.0f} s") from None
            if line is None:
                raise HostError(f"ended before it was ready{self._exit_status()}")
            if match := LISTENING.match(line):
                self.address = (match[1], int(match[2]))
            elif match := READY.match(line):
                self.interface, self.concurrency = match[1], match[2]
                self._workers = {int(pid): _start_time(int(pid)) for pid in match[3].split()}
                if dead := [pid for pid, started in self._workers.items() if not started]:
                    raise HostError(f"said to be ready, but there is no worker with pid {dead}")

    def stop(self) -> float:
        """SIGTERM, then exit status 0 in time and no process left; returns the seconds it took."""
        started = time.monotonic()
        if self._child.poll() is not None:
            raise HostError(f"ended by itself, exit status {self._child.returncode}")
        self._child.send_signal(signal.SIGTERM)
        try:
            status = self._child.wait(GRACEFUL_SECONDS + 2)
        except subprocess.TimeoutExpired:
            raise HostError(f"still running {GRACEFUL_SECONDS + 2} s after SIGTERM") from None
        if status != 0:
            raise HostError(f"exit status {status} after SIGTERM, instead of 0")
        if left := self._processes():
            raise HostError(f"left processes behind: {sorted(left)}")
        return time.monotonic() - started

    def kill(self) -> None:
        """End whatever is left, at once; for the way out after a failure."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(3)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for pid in self._processes():
            _kill(pid)

    def _exit_status(self) -> str:
        try:
            return f", exit status {self._child.wait(5)}"
        except subprocess.TimeoutExpired:
            return ": it closed its output but still runs"

    def _processes(self) -> set[int]:
        """Living processes of this host other than the child itself."""
        named = {pid for pid, started in self._workers.items() if started and _start_time(pid) == started}
        return (named | _marked_processes(self._mark)) - {self._child.pid}

    def _read_output(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self.output.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)


def memory_mib(pids: list[int]) -> float | None:
    """Memory of the processes in MiB, shared pages counted in proportion; None if /proc does not say."""
    total = 0.0
    for pid in pids:
        # The proportional size needs more rights than the resident size.
        size = _kibibytes(f"/proc/{pid}/smaps_rollup", "Pss") or _kibibytes(f"/proc/{pid}/status", "VmRSS")
        if size is None:
            return None
        total += size / 1024
    return total


def _mark_of(name: str) -> str:
    return f"{RUN_MARK}-{name}"


def _marked_processes(mark: str) -> set[int]:
    pids = (entry for entry in os.listdir("/proc") if entry.isdigit())
    return {int(pid) for pid in pids if mark.encode() in _environment(pid)}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # Ended meanwhile; or its number already belongs to another user's process.


def _kibibytes(path: str, name: str) -> int | None:
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) if match else None


def _environment(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return b""  # Ended meanwhile, or another user's.


def _start_time(pid: int) -> str:
    """When the process started, which tells it from a later one with its pid; empty if it does not run."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
