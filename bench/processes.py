"""What a server costs, read from /proc: its whole tree of processes, CPU time and memory.

The tree is the started process, everything below it, and everything in its session (a process whose parent
has died moves away from the tree but stays in the session). CPU time includes children that were already
waited for. Memory is given twice: RSS counts shared pages once per process, PSS divides them among those who
map them, so only PSS may be summed without counting a page twice.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (proc(5) field 3 is index 0); None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """Pids of the process tree, the root first; zombies are left out."""
    parents: dict[int, int] = {}
    found = {root}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat_fields(int(entry))) and fields[0] != "Z":
            parents[int(entry)] = int(fields[1])
            if int(fields[3]) == root:
                found.add(int(entry))
    grew = True
    while grew:
        below = {pid for pid, parent in parents.items() if parent in found}
        grew = not below <= found
        found |= below
    return sorted((pid for pid in found if pid in parents), key=lambda pid: (pid != root, pid))


def start_time(pid: int) -> str | None:
    """Start time in ticks since boot: with the pid it names one process for ever."""
    fields = stat_fields(pid)
    return fields[19] if fields else None


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far, with children already waited for."""
    ticks = 0
    for pid in tree(root):
        fields = stat_fields(pid)
        if fields:
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / TICKS_PER_SECOND


def threads_beside(root: int, names: set[str]) -> float:
    """CPU seconds so far of the tree's threads that have none of these names and are not the first of a child process."""
    nanoseconds = 0
    for pid in tree(root):
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                first = pid != root and int(task.name) == pid
                if not first and (task / "comm").read_text().strip() not in names:
                    nanoseconds += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue  # it has ended
    return nanoseconds / 1e9


def memory(pids: list[int]) -> dict[str, int]:
    """Bytes of `pss` and `rss` summed over the processes."""
    total = {"pss": 0, "rss": 0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name.lower() in total:
                total[name.lower()] += int(rest.split()[0]) * 1024
    return total


def is_python(pid: int) -> bool:
    try:
        return "python" in os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


def workers(root: int) -> list[int]:
    """The Python processes below the root, without the helper that multiprocessing starts for itself."""
    return [pid for pid in tree(root) if pid != root and is_python(pid) and not is_helper(pid)]


def is_helper(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return b"resource_tracker" in command or b"forkserver" in command


def wait_gone(pids: dict[int, str | None], seconds: float) -> list[int]:
    """Wait until none of the processes lives (named by pid and start time); returns those that still do."""
    deadline = time.monotonic() + seconds
    while True:
        left = [pid for pid, started in pids.items() if started and lives(pid, started)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def lives(pid: int, started: str) -> bool:
    fields = stat_fields(pid)
    return fields is not None and fields[0] != "Z" and fields[19] == started
