"""Limits that are counted or metered by the kernel: CPU, memory, processes, files, disk."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import groups
from findings import Finding, always, at_most, denied, event, exactly, rate
from registry import BOTH, case
from stage import APPS, Stage

sys.path.append(str(APPS))
import multiply  # noqa: E402

MIB = 1 << 20
SECONDS = 4
MEMORY_MIB = 128
HOG_MIB = 300

# ---- CPU ----


def burner(kind: str, count: int, limit: float) -> Callable[[Stage], Finding]:
    """Cores that so many burners get together."""

    def run(stage: Stage) -> Finding:
        answer = stage.attack(f"burn-{kind}", count=count, seconds=SECONDS)
        if answer["status"] != 200:
            return always(f"the burners answer ({answer})", False)
        return rate(f"{count} {kind}", answer["cores"], limit, "cores")

    return run


HALF: dict[str, Any] = {"cpu": 0.5}
WHOLE: dict[str, Any] = {"cpu": 1}
case("CPU by one process, half a core", models=BOTH, needs=("cpu",), limits=HALF, repeat=True)(
    burner("processes", 1, 0.5)
)
case("CPU by 8 processes, half a core", models=BOTH, needs=("cpu",), limits=HALF, repeat=True)(
    burner("processes", 8, 0.5)
)
case("CPU by 8 threads, half a core", models=BOTH, needs=("cpu",), limits=HALF, repeat=True)(burner("threads", 8, 0.5))
if (os.cpu_count() or 1) > 1:
    case("CPU by 8 processes, one core", needs=("cores",), limits=WHOLE, repeat=True)(burner("processes", 8, 1))


def share(stage: Stage, own: int, victims: int, expected: float) -> Finding:
    """The attacker's part of what both get, when both burn at the same time."""
    answers: dict[str, dict[str, Any]] = {}

    def burn(app: str, count: int) -> None:
        answers[app] = stage.attack("burn-processes", app=app, count=count, seconds=SECONDS)

    burners = [threading.Thread(target=burn, args=it) for it in (("attacker", own), ("victim", victims))]
    for burner_ in burners:
        burner_.start()
    for burner_ in burners:
        burner_.join()
    if any(answer["status"] != 200 for answer in answers.values()):
        return always(f"the burners answer ({answers})", False)
    mine, other = answers["attacker"]["cores"], answers["victim"]["cores"]
    return rate(f"{own} against {victims} processes", mine / (mine + other), expected, "of the CPU")


@case("CPU: more processes, not more CPU", models=("shared",), needs=("cpu",), limits={"cpu_weight": 100}, repeat=True)
def fair_share(stage: Stage) -> Finding:
    return share(stage, 12, 4, 0.5)


@case(
    "CPU: a third of the neighbour's weight",
    models=("shared",),
    needs=("cpu",),
    limits={"cpu_weight": 100},
    victim={"cpu_weight": 300},
    repeat=True,
)
def weights(stage: Stage) -> Finding:
    return share(stage, 8, 8, 0.25)


@case("leave the pinned core", needs=("cores",), limits=WHOLE)
def leave_core(stage: Stage) -> Finding:
    if (os.cpu_count() or 1) < 2:
        return Finding("", False, False, absent="this machine has one core")
    answer = stage.attack("leave-core")
    cores = answer.get("cores", [])
    return Finding(f"ran on cores {cores}", through=len(cores) > 1, held=len(cores) == 1)


@case("a higher priority than others", needs=("capabilities",))
def raise_priority(stage: Stage) -> Finding:
    return denied(stage.attack("raise-priority"))


# ---- memory ----


def killed(stage: Stage, hog: Callable[[], dict[str, Any]]) -> list[Finding]:
    """A hog that must be killed at the limit; the application is back, and never had more than the limit."""
    before = stage.worker()
    # The group is the application's: it is there before and after the worker that is killed.
    group = groups.limited(before, "memory", "memory.limit_in_bytes", "memory.max")
    answer = hog()
    found = [event(f"killed when it wanted {HOG_MIB} MiB (answered {answer['status']})", answer["status"] == 502)]
    if group is not None and (usage := groups.memory_of(group)):
        peak, limit = usage
        found.append(at_most("most memory at any time", peak / MIB, MEMORY_MIB, "MiB"))
        if stage.model != "unlimited":
            found.append(always(f"the group's limit is {limit / MIB:g} MiB", limit == MEMORY_MIB * MIB))
    else:
        found.append(always("the worker is in a group with a memory limit", stage.model == "unlimited"))
    started = time.monotonic()
    back = stage.serves_again()
    found.append(always(f"back in service after {time.monotonic() - started:.2f} s", back))
    if stage.model != "unlimited":
        found.append(always("by a new worker", stage.worker() != before))
    else:
        stage.attack("memory-drop")
    return found


MEMORY: dict[str, Any] = {"memory": f"{MEMORY_MIB}MiB", "disk_space": "512MiB"}


@case("memory: anonymous", models=BOTH, needs=("memory",), limits=MEMORY)
def anonymous(stage: Stage) -> list[Finding]:
    return killed(stage, lambda: stage.attack("memory-anonymous", mib=HOG_MIB))


def tmpfs(where: str) -> Callable[[Stage], list[Finding]]:
    """Files that are memory: refused when full, or charged and killed; never more than the limit."""

    def run(stage: Stage) -> list[Finding]:
        answer = stage.attack("memory-tmpfs", mib=HOG_MIB, where=where)
        if answer["status"] == 502:
            return [event(f"killed filling {where}", True), always("back in service", stage.serves_again())]
        refused = answer.get("errno") in ("ENOSPC", "EACCES", "EPERM", "EROFS", "ENOENT", "EDQUOT")
        told = answer.get("errno") or "it all fitted"
        text = f"{where}: {answer['mib']} MiB written, then {told}"
        held = refused and answer["mib"] <= MEMORY_MIB
        return [Finding(text, through=bool(answer["got"]), held=held)]

    return run


case("memory: files in /dev/shm", needs=("memory", "mount_namespace"), limits=MEMORY)(tmpfs("/dev/shm"))
case("memory: files in /tmp", needs=("memory", "mount_namespace"), limits=MEMORY)(tmpfs("/tmp"))


def cached(name: str) -> Callable[[Stage], list[Finding]]:
    """Page cache is charged, and given back instead of killing."""

    def run(stage: Stage) -> list[Finding]:
        before = stage.worker()
        answer = stage.attack(name, mib=HOG_MIB)
        found = [always(f"{HOG_MIB} MiB went through ({answer})", answer["status"] == 200)]
        peak = groups.memory_peak(before)
        if peak is None:
            return [*found, always("the worker is in a group with a memory limit", False)]
        return [*found, at_most("most memory at any time", peak[0] / MIB, MEMORY_MIB, "MiB")]

    return run


case("memory: page cache", models=BOTH, needs=("memory",), limits=MEMORY)(cached("memory-page-cache"))
case("memory: a mapped file", models=BOTH, needs=("memory",), limits=MEMORY)(cached("memory-mapped-file"))


@case("memory: locked", needs=("capabilities",), limits=MEMORY)
def locked(stage: Stage) -> Finding:
    return denied(stage.attack("memory-locked"), "EPERM", "ENOMEM", "ENOSYS")


# ---- processes and files ----

TASKS = 40
BOMB = 120


def bomb(stage: Stage, name: str) -> list[Finding]:
    """Tasks while the bomb holds what it got; then all of them are gone and the application goes on."""
    worker = stage.worker()
    counts: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.01):
            if (count := groups.task_count(worker)) is not None:
                counts.append(count)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        answer = stage.attack(name, count=BOMB, hold=0.5)
    finally:
        stop.set()
        looking.join()
    found = [
        Finding(
            f"of {BOMB} it got {answer.get('children', answer.get('threads'))}, then {answer.get('errno') or 'nothing'}",
            through=bool(answer["got"]),
            held=answer.get("errno") == "EAGAIN",
        )
    ]
    if counts:
        found.append(exactly("most tasks at any time", max(counts), TASKS))
    elif stage.model != "unlimited":
        found.append(always("the worker is in a group with a limit of tasks", False))
    return [*found, always("the same worker goes on", stage.worker() == worker and stage.serves_again())]


PROCESSES: dict[str, Any] = {"processes": TASKS, "open_files": 128}


@case("processes: fork bomb", models=BOTH, needs=("processes",), limits=PROCESSES)
def fork_bomb(stage: Stage) -> list[Finding]:
    return bomb(stage, "fork-bomb")


@case("processes: threads", models=BOTH, needs=("processes",), limits=PROCESSES)
def thread_bomb(stage: Stage) -> list[Finding]:
    return bomb(stage, "thread-bomb")


@case("processes: grandchildren that nobody waits for", models=BOTH, needs=("processes",), limits=PROCESSES)
def orphan_bomb(stage: Stage) -> list[Finding]:
    """They count, and nothing of them is left when the application is stopped."""
    stage.attack("orphan-bomb", count=BOMB, hold=3 if stage.model == "unlimited" else 60)
    worker = stage.worker()
    inside = groups.task_count(worker)
    found = [at_most("tasks", inside, TASKS)] if inside is not None else []
    if stage.model == "unlimited":
        # Nobody ends them here, which is what the limited models must do better.
        stage.host.wait(lambda: len(stage.host.processes()) < 10, "they end by themselves", 15)
        return found
    group = groups.limited(worker, "pids", "pids.max", "pids.max")
    stage.host.do("stop", "attacker")
    deadline = time.monotonic() + 10
    while (left := tasks_below(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    stage.host.do("start", "attacker")
    found.append(always(f"nothing is left of a stopped application ({left} tasks are)", left == 0))
    return [*found, always("served again", stage.serves_again())]


def tasks_below(group: Path | None) -> int:
    """Tasks in a group and all below it; a group that is gone has none."""
    return (groups.number(group / "pids.current") or 0) if group is not None else 0


@case("open files", models=BOTH, needs=("open_files",), limits=PROCESSES)
def open_files(stage: Stage) -> list[Finding]:
    answer = stage.attack("descriptors", count=400)
    limit = PROCESSES["open_files"]
    return [
        Finding(
            f"opened {answer.get('opened')}, then {answer.get('errno') or 'nothing'}",
            through=bool(answer["got"]),
            held=answer.get("errno") == "EMFILE",
        ),
        exactly("descriptors", answer.get("highest", -1) + 1, limit),
    ]


@case(
    "raise its own limit of open files",
    needs=("open_files", "capabilities"),
    limits=PROCESSES,
    control=lambda: multiply.raise_limits({}),
)
def raise_limits(stage: Stage) -> Finding:
    return denied(stage.attack("raise-limits"))


# ---- disk ----

SPACE_MIB = 64
SPACE: dict[str, Any] = {"disk_space": f"{SPACE_MIB}MiB"}


@case("disk space", models=BOTH, needs=("disk_space",), limits=SPACE)
def disk_space(stage: Stage) -> list[Finding]:
    found = []
    for again in ("", " again, after it was emptied"):
        answer = stage.attack("fill-disk", mib=SPACE_MIB * 2)
        written = answer.get("mib", 0)
        text = f"{written:.1f} of {SPACE_MIB * 2} MiB written{again}, then {answer.get('errno') or 'nothing'}"
        # A file system needs some of its volume for itself.
        held = answer.get("errno") in ("ENOSPC", "EDQUOT") and SPACE_MIB * 0.75 <= written <= SPACE_MIB
        found.append(Finding(text, through=bool(answer["got"]), held=held))
    return found


@case("files without content", models=BOTH, needs=("disk_space",), limits=SPACE)
def inodes(stage: Stage) -> Finding:
    return denied(stage.attack("fill-inodes", count=70_000), "ENOSPC", "EDQUOT")


def metered(attack: str, key: str, what: str, limit: float, unit: str, scale: float, kib: int, cap: str) -> None:
    """Register a case of a disk rate."""

    def run(stage: Stage) -> Finding:
        answer = stage.attack(attack, kib=kib, seconds=SECONDS)
        if answer["status"] != 200:
            return always(f"it answers ({answer})", False)
        figure = answer["bytes_per_second" if unit == "MiB/s" else "operations_per_second"]
        return rate(attack, figure, limit, unit, scale)

    case(what, models=BOTH, needs=(key,), limits={key: cap}, repeat=True)(run)


metered("read-direct", "disk_read", "disk reads, bytes", 10 * MIB, "MiB/s", MIB, 256, "10MiB/s")
metered("read-direct", "disk_read", "disk reads, operations", 200, "operations/s", 1, 4, "200ops/s")
metered("write-direct", "disk_write", "disk writes, bytes", 10 * MIB, "MiB/s", MIB, 256, "10MiB/s")
metered("write-direct", "disk_write", "disk writes, operations", 200, "operations/s", 1, 4, "200ops/s")


@case("fsync storm", models=BOTH, needs=("disk_write",), limits={"disk_write": "10MiB/s"}, repeat=True)
def fsync_storm(stage: Stage) -> Finding:
    """Synced writes are metered too; journal and metadata count against them, so they may stay below."""
    answer = stage.attack("write-synced", kib=1024, seconds=SECONDS)
    if answer["status"] != 200:
        return always(f"it answers ({answer})", False)
    share = answer["bytes_per_second"] / (10 * MIB)
    text = f"synced writes: {answer['bytes_per_second'] / MIB:.3g} MiB/s, limit 10"
    return Finding(text, through=share > 1.3, held=0.5 <= share <= 1.05)
