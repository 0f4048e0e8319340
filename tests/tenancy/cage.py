"""A cgroup of our own around a host without limits, so that proving the attacks cannot hurt the machine.

Memory and pids are limited. CPU and disk attacks are bounded by their own time; a cage of those would spoil the proof.
Both cgroup versions; the groups are removed again, also when what was in them had to be killed.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import groups

MEMORY_BYTES = 3 << 29
TASKS = 800
# Other work on the machine is no limit of ours: burners get past it. Much in both versions' units.
WEIGHT = 8000


class NoCage(Exception):
    """No cgroup with limits can be made here; the text says why."""


class Cage:
    """Groups with limits; `command` goes in front of a command that is to run inside."""

    def __init__(self, name: str) -> None:
        self.paths: list[Path] = []
        try:
            self._make("memory", name, ("memory.limit_in_bytes", "memory.max"), MEMORY_BYTES)
            self._make("pids", name, ("pids.max", "pids.max"), TASKS)
            self._make("cpu", name, ("cpu.shares", "cpu.weight"), WEIGHT)
        except (OSError, NoCage):
            self.remove()
            raise

    def _make(self, controller: str, name: str, files: tuple[str, str], limit: int) -> None:
        version = groups.version(controller)
        if version == 0:
            raise NoCage(f"no {controller} controller")
        points = groups.mounts()
        if version == 2:
            root = points["unified"]
            # Enabled for children of the root already, or we say so; never taken back: others may rely on it.
            control = root / "cgroup.subtree_control"
            if controller not in control.read_text().split():
                control.write_text(f"+{controller}")
        else:
            root = points[controller]
        path = root / name
        if path not in self.paths:
            path.mkdir()
            self.paths.append(path)
        (path / files[version - 1]).write_text(str(limit))

    def command(self) -> tuple[str, ...]:
        """Enters the cage, then becomes the rest of the command line."""
        enter = "".join(f"echo $$ > {path}/cgroup.procs && " for path in self.paths)
        return ("/bin/sh", "-c", enter + 'exec "$@"', "sh")

    def remove(self) -> None:
        """Kill what is still inside, and remove the groups, with those that were made below them."""
        deadline = time.monotonic() + 10
        for path in self.paths:
            while path.exists():
                for folder, _, _ in os.walk(path, topdown=False):
                    for pid in (groups.read(Path(folder, "cgroup.procs")) or "").split():
                        try:
                            os.kill(int(pid), signal.SIGKILL)
                        except ProcessLookupError:
                            pass
                    try:
                        os.rmdir(folder)
                    except OSError:
                        if time.monotonic() > deadline:
                            raise
                time.sleep(0.02)
        self.paths.clear()
