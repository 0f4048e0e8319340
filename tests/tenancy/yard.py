"""A branch of our own in every cgroup hierarchy, around the hosts of these tests.

Everything a host makes for itself is below the group it was started in, so whatever is left in the yard was left by
our hosts and by nobody else. Its weight keeps other work on the machine from spoiling the rates. With `limits` it is a
cage for hosts without limits: proving the attacks cannot hurt the machine (memory and tasks; attacks on CPU and disk
are bounded by their own time). Both cgroup versions; what is in it is killed and removed at the end.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from pathlib import Path

import groups

MEMORY_BYTES = 3 << 29
TASKS = 800
WEIGHT = 8000
# How long a group may be busy after its last process was killed.
REMOVE_SECONDS = 10.0


class NoYard(Exception):
    """No group with what is needed can be made here; the text says why."""


class Yard:
    """Our groups; `command` goes in front of a command that is to run inside."""

    def __init__(self, *, limits: bool) -> None:
        self.name = f"tenancy-{secrets.token_hex(4)}"
        self.paths: list[Path] = []
        # Where our own processes are meanwhile, and what was switched on for that.
        self.waiting: Path | None = None
        self.enabled: list[str] = []
        try:
            for controller, point in groups.mounts().items():
                if not controller.startswith("name="):
                    self._make(controller, point)
            self._write("cpu", {1: "cpu.shares", 2: "cpu.weight"}, WEIGHT, required=False)
            if limits:
                self._write("memory", {1: "memory.limit_in_bytes", 2: "memory.max"}, MEMORY_BYTES, required=True)
                self._write("pids", {1: "pids.max", 2: "pids.max"}, TASKS, required=True)
        except OSError as error:
            self.remove()
            raise NoYard(str(error)) from error
        except NoYard:
            self.remove()
            raise

    def _make(self, controller: str, point: Path) -> None:
        """Below the group we are in ourselves: its limits hold for us too."""
        own = groups.group_of(os.getpid(), controller)
        parent = own if own is not None and own.is_dir() else point
        path = parent / self.name
        if path in self.paths:
            return
        if controller == "unified":
            self._enable(parent)
        path.mkdir()
        self.paths.append(path)
        if controller == "cpuset":
            for name in ("cpuset.cpus", "cpuset.mems"):
                (path / name).write_text((parent / name).read_text())

    def _enable(self, parent: Path) -> None:
        """Controllers of version 2 for the children.

        A group that is not the root gives controllers to children only if it has no processes itself ("no internal
        processes", Documentation/admin-guide/cgroup-v2.rst): then ours wait in a group beside the yard.
        """
        there = set((parent / "cgroup.controllers").read_text().split())
        missing = sorted(there - set((parent / "cgroup.subtree_control").read_text().split()))
        # Only groups below the root have a type.
        if missing and (parent / "cgroup.type").exists() and groups.read(parent / "cgroup.procs"):
            self.waiting = parent / f"{self.name}-tests"
            self.waiting.mkdir()
            move(parent, self.waiting)
        for name in missing:
            (parent / "cgroup.subtree_control").write_text(f"+{name}")
            if self.waiting is not None:
                self.enabled.append(name)

    def _write(self, controller: str, names: dict[int, str], value: int, *, required: bool) -> None:
        version = groups.version(controller)
        point = groups.mounts().get(controller if version == 1 else "unified")
        for path in self.paths:
            file = path / names.get(version, "-")
            if point is not None and point in path.parents and file.exists():
                file.write_text(str(value))
                return
        if required:
            raise NoYard(f"the {controller} controller cannot be used below our own group")

    def command(self) -> tuple[str, ...]:
        """Enters the yard, then becomes the rest of the command line."""
        enter = "".join(f"{opening(path)}echo $$ > {path}/cgroup.procs && " for path in self.paths)
        return ("/bin/sh", "-c", enter + 'exec "$@"', "sh")

    def left(self) -> list[str]:
        """Groups and processes in it."""
        found = []
        for path in self.paths:
            for folder, folders, _ in os.walk(path):
                found += [f"cgroup: {folder}/{name}" for name in folders]
                pids = (groups.read(Path(folder, "cgroup.procs")) or "").split()
                found += [f"process {pid} in {folder}" for pid in pids]
        return found

    def remove(self) -> None:
        """Kill what is still inside, and remove the groups, with those that were made below them."""
        deadline = time.monotonic() + REMOVE_SECONDS
        while any(path.exists() for path in self.paths):
            for path in self.paths:
                for folder, _, _ in os.walk(path, topdown=False):
                    self._empty(Path(folder))
                    try:
                        os.rmdir(folder)
                    except OSError:
                        if time.monotonic() > deadline:
                            raise
            time.sleep(0.02)
        self.paths.clear()
        if self.waiting is not None:
            parent = self.waiting.parent
            for name in reversed(self.enabled):
                (parent / "cgroup.subtree_control").write_text(f"-{name}")
            move(self.waiting, parent)
            self.waiting.rmdir()
            self.waiting = None

    @staticmethod
    def _empty(folder: Path) -> None:
        for pid in (groups.read(folder / "cgroup.procs") or "").split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass


# Bottom-up: controllers can be taken from a group only when it gives them to nobody.
TAKE_BACK = """
import os, sys
for folder, _, _ in os.walk(sys.argv[1], topdown=False):
    given = os.path.join(folder, "cgroup.subtree_control")
    for name in open(given).read().split():
        open(given, "w").write("-" + name)
"""


def opening(path: Path) -> str:
    """For a shell: lets processes into a group of version 2 in which a host was killed.

    A group that gives controllers to groups below takes no processes ("no internal processes"). Where a service manager
    would remove it and make it anew, only the controllers are taken back here: what the dead host has left stays, and to
    remove it is the next host's work.
    """
    return f"{sys.executable} -c '{TAKE_BACK}' {path} && " if (path / "cgroup.subtree_control").exists() else ""


def move(source: Path, target: Path) -> None:
    """All processes of one group to another."""
    for pid in (groups.read(source / "cgroup.procs") or "").split():
        try:
            (target / "cgroup.procs").write_text(pid)
        except ProcessLookupError:
            pass
