"""Reads cgroups from outside: where a process is, what its groups have used, what limits them. Both versions.

Independent of what the program says about itself: everything comes from /proc and the cgroup file systems.
"""

from __future__ import annotations

import os
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")


def mounts() -> dict[str, Path]:
    """Mount point by v1 controller name; the unified hierarchy is "unified"."""
    found: dict[str, Path] = {}
    for line in MOUNTINFO.read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        # Only mounts of the hierarchy's root: others are somebody's view of a part of it.
        root, point = left.split()[3:5]
        if kind == "cgroup2" and root == "/":
            found.setdefault("unified", Path(point))
        elif kind == "cgroup" and root == "/":
            for option in options.split()[-1].split(","):
                found.setdefault(option, Path(point))
    return found


def version(controller: str) -> int:
    """1 or 2, by who has the controller; 0 if nobody has."""
    points = mounts()
    if controller in points:
        return 1
    unified = points.get("unified")
    if unified is not None and controller in (unified / "cgroup.controllers").read_text().split():
        return 2
    return 0


def group_of(pid: int, controller: str) -> Path | None:
    """The directory of the process in the hierarchy of that controller; None if there is none, or it has ended."""
    points = mounts()
    key = controller if controller in points else "unified"
    if key not in points:
        return None
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, names, path = line.split(":", 2)
        if (key == "unified" and names == "") or (key != "unified" and key in names.split(",")):
            return points[key] / path.lstrip("/")
    return None


def limited(pid: int, controller: str, v1: str, v2: str) -> Path | None:
    """The nearest group above the process whose limit file says something; None without a limit."""
    group = group_of(pid, controller)
    root = mounts().get(controller, mounts().get("unified"))
    while group is not None and root is not None and group != root:
        name = v1 if version(controller) == 1 else v2
        text = read(group / name)
        # v1 says "unlimited" as a number near 2^63.
        if text not in (None, "max", "-1") and not (text.isdigit() and int(text) > 1 << 60):
            return group
        group = group.parent
    return None


def read(path: Path) -> str | None:
    """The file's text without its newline; None if it is not there."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The file's number; None if it is not there or says "max"."""
    text = read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def memory_peak(pid: int) -> tuple[int, int] | None:
    """Bytes that the process's limited memory group had at most, and its limit; None without one."""
    group = limited(pid, "memory", "memory.limit_in_bytes", "memory.max")
    return memory_of(group) if group is not None else None


def memory_of(group: Path) -> tuple[int, int] | None:
    """Bytes that a memory group had at most, and its limit; None if it has no limit or is gone."""
    first = version("memory") == 1
    peak = number(group / ("memory.max_usage_in_bytes" if first else "memory.peak"))
    limit = number(group / ("memory.limit_in_bytes" if first else "memory.max"))
    return (peak, limit) if peak is not None and limit is not None else None


def task_count(pid: int) -> int | None:
    """Tasks in the process's limited pids group now."""
    group = limited(pid, "pids", "pids.max", "pids.max")
    return number(group / "pids.current") if group is not None else None


def all_groups() -> set[str]:
    """Every directory in every hierarchy."""
    found: set[str] = set()
    for point in set(mounts().values()):
        for folder, folders, _ in os.walk(point):
            found.update(os.path.join(folder, name) for name in folders)
    return found
