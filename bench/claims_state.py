"""Is the machine afterwards as it was: after a claim, and after a laboratory that was killed in the middle of one and put back?

Looked at: directories below the cgroup mounts, mounts, sysctls, network links and namespaces, loop devices, users' processes, and
the temporary directory. What is always in motion (counters, random values, times) is left out by name.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# sysctls that change by themselves, or with every process.
MOVING = re.compile(
    r"/(dentry-state|inode-nr|inode-state|file-nr|random/|pty/nr|ns_last_pid|keys/|quota/|aio-nr|nr_open_files|ip_local_port"
    r"|nf_conntrack_count|conntrack_count|sched_domain|boot_id|uuid|entropy_avail|tcp_mem|udp_mem)"
)
HALFWAY = 12.0


def state() -> dict[str, set[str]]:
    """Everything, as sets of lines."""
    return {
        "cgroups": cgroups(),
        "mounts": {" ".join(line.split()[3:]) for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "sysctls": sysctls(),
        "links": lines("ip", "-o", "link"),
        "named namespaces": lines("ip", "netns"),
        "loop devices": lines("losetup", "--list", "--noheadings", "--output", "BACK-FILE"),
        "processes": processes(),
        "temporary": {entry.name for entry in Path(tempfile.gettempdir()).iterdir() if "serpentry" in entry.name},
    }


def cgroups() -> set[str]:
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            found |= {folder for folder, _, _ in os.walk(before.split()[4])}
    return found


def sysctls() -> set[str]:
    found = set()
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            path = f"{folder}/{name}"
            if MOVING.search(path):
                continue
            try:
                found.add(f"{path} = {Path(path).read_text(errors='replace').strip()}")
            except OSError:
                continue  # some can only be written
    return found


def lines(*command: str) -> set[str]:
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return set()
    return {re.sub(r"^\d+: ", "", line).strip() for line in result.stdout.splitlines()}


def processes() -> set[str]:
    """Command lines, of all but kernel threads and this program with what it starts to look."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if words:
                found.add(words)
    return found


def differences(before: dict[str, set[str]], after: dict[str, set[str]]) -> list[str]:
    found = []
    for what, old in before.items():
        found += [f"{what}: gone: {line}" for line in sorted(old - after[what])]
        found += [f"{what}: new: {line}" for line in sorted(after[what] - old)]
    return found


def check(program: Path) -> int:
    """0 if the machine is as it was, both times; 1 if not."""
    quick = [program, "claims", "C1", "C5", "--effort", "quick"]
    before = state()
    subprocess.run(quick, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ended = differences(before, state())
    say("after claims C1 and C5", ended)
    child = subprocess.Popen(quick, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(HALFWAY)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(2)
    say("after kill -9 in the middle", differences(before, state()))
    restored = subprocess.run([program, "lab", "restore"], capture_output=True, text=True)
    print(f"serpentry lab restore: exit status {restored.returncode}\n  " + restored.stdout.strip().replace("\n", "\n  "))
    left = differences(before, state())
    say("after lab restore", left)
    return 1 if ended or left else 0


def say(when: str, found: list[str]) -> None:
    print(f"{when}: {len(found)} differences" + "".join(f"\n  {line}" for line in found[:40]), flush=True)


if __name__ == "__main__":
    sys.exit(check(Path(sys.argv[1])))
