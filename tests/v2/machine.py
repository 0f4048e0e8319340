#!/usr/bin/env python3
"""The virtual machine is what the other tests take it for: pure cgroup v2, every controller, volumes, networks, sandboxes.

Runs first in `make test-v2`. Each mechanism is used once, in a place of its own, and put back. It says nothing about
Serpentry: it is why a failure of the tests after it is not the machine's fault.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = {"cpuset", "cpu", "io", "memory", "pids"}
SYS_LANDLOCK_CREATE_RULESET = 444
LANDLOCK_CREATE_RULESET_VERSION = 1
# What files at the least the interface of a cgroup with every controller has.
FILES = (
    *("cpu.max", "cpu.weight", "cpuset.cpus", "io.max", "memory.max", "memory.oom.group", "pids.max"),
    *("cgroup.kill", "cpu.pressure"),
)


def pure_v2() -> str:
    """One cgroup2 mount, no version 1, and a delegated cgroup with all controllers."""
    types = [line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert types.count("cgroup2") == 1 and "cgroup" not in types, types
    here = Path("/proc/self/cgroup").read_text().strip()
    assert here.startswith("0::/") and "\n" not in here, here
    own = CGROUPS / here.removeprefix("0::/")
    found = set((own / "cgroup.controllers").read_text().split())
    assert found >= CONTROLLERS, found
    missing = [name for name in FILES if not (own / name).exists()]
    assert not missing, missing
    return f"{here}: {' '.join(sorted(found))}"


def processes_limit() -> str:
    """pids.max holds: the second process is refused."""
    with cgroup() as group:
        (group / "pids.max").write_text("1")
        done = inside(group, "import os\ntry: os.fork()\nexcept BlockingIOError: raise SystemExit(7)")
    assert done == 7, done
    return "the second process is refused"


def memory_limit() -> str:
    """memory.max holds: 64 MiB do not fit into 32."""
    with cgroup() as group:
        (group / "memory.max").write_text(str(32 << 20))
        done = inside(group, "x = bytearray(b'x' * (64 << 20))")
        killed = "oom_kill 1" in (group / "memory.events").read_text()
    assert done == -9 and killed, (done, killed)
    return "64 MiB are killed at 32"


def cpu_limit() -> str:
    """cpu.max holds: throttled after a tenth of every period."""
    with cgroup() as group:
        (group / "cpu.max").write_text("10000 100000")
        inside(group, "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass")
        stat = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    assert int(stat["nr_throttled"]) > 0, stat
    return f"throttled {stat['nr_throttled']} times, {int(stat['usage_usec']) / 1000:.0f} ms in 1.5 s"


def disk_limit() -> str:
    """io.max holds: 2 MiB written directly at 1 MiB/s take a second at least."""
    with cgroup() as group, tempfile.NamedTemporaryFile(dir="/disk") as file:
        number = os.stat(file.name).st_dev
        (group / "io.max").write_text(f"{os.major(number)}:{os.minor(number)} wbps={1 << 20}")
        write = "import mmap, os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)\nblock = mmap.mmap(-1, 1 << 18)\n"
        began = time.monotonic()
        assert inside(group, f"{write}for _ in range(8): os.write(fd, block)", file.name) == 0
        took = time.monotonic() - began
    assert took > 1.0, took
    return f"2 MiB at 1 MiB/s take {took:.1f} s"


def volume() -> str:
    """A file system in a file, mounted through a loop device."""
    with tempfile.TemporaryDirectory(dir="/disk") as folder:
        image, place = Path(folder, "volume"), Path(folder, "mounted")
        with image.open("wb") as file:
            file.truncate(16 << 20)
        place.mkdir()
        run("mke2fs", "-q", "-t", "ext4", str(image))
        run("mount", "-o", "loop", str(image), str(place))
        try:
            size = os.statvfs(place).f_blocks * os.statvfs(place).f_frsize
        finally:
            run("umount", str(place))
    assert 8 << 20 < size < 16 << 20, size
    return f"{size >> 10} KiB in a file of 16 MiB"


def private_root() -> str:
    """pivot_root(2) works: the initial file system is mounted over itself."""
    script = "mount -t tmpfs new /mnt && mkdir /mnt/old && cd /mnt && pivot_root . old && test -d /old/proc"
    run("unshare", "--mount", "sh", "-c", f"mkdir -p /mnt && {script}")
    return "left for a tmpfs"


def overlay() -> str:
    """overlayfs works on the disk."""
    with tempfile.TemporaryDirectory(dir="/disk") as folder:
        for name in ("lower", "upper", "work", "merged"):
            Path(folder, name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        run("mount", "-t", "overlay", "-o", options, "overlay", f"{folder}/merged")
        run("umount", f"{folder}/merged")
    return "mounted"


def network() -> str:
    """A pair of interfaces with a rate, and a rule of egress, in a network namespace that ends with the command."""
    tbf = "tc qdisc add dev near root tbf rate 1mbit burst 10k latency 50ms"
    pair = "ip link add name near type veth peer name far"
    shown = run("unshare", "--net", "sh", "-c", f"{pair} && {tbf} && tc qdisc show dev near")
    assert "tbf" in shown, shown
    if shutil.which("nft") is None:
        return "veth, tbf (skipped: nftables, the machine that made this one has no nft)"
    chain = "add chain inet t c { type filter hook output priority 0; }"
    run("unshare", "--net", "nft", f"add table inet t; {chain}; add rule inet t c ct state new reject")
    return "veth, tbf, nftables"


def landlock() -> str:
    """The kernel has landlock."""
    abi = ctypes.CDLL(None, use_errno=True).syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    assert abi >= 1, os.strerror(ctypes.get_errno())
    return f"ABI {abi}"


CHECKS = (
    *(pure_v2, processes_limit, memory_limit, cpu_limit, disk_limit),
    *(volume, private_root, overlay, network, landlock),
)


class cgroup:  # noqa: N801 - used like a function
    """A cgroup beside this step's own, removed at the end."""

    def __enter__(self) -> Path:
        self.path = CGROUPS / f"machine-check-{os.getpid()}"
        self.path.mkdir()
        return self.path

    def __exit__(self, *_: object) -> None:
        (self.path / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 10
        while "populated 1" in (self.path / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.path.rmdir()


def inside(group: Path, code: str, *arguments: str) -> int:
    """Exit status of a Python program in the cgroup."""
    enter = "import os, sys\nopen(sys.argv.pop(1), 'w').write('0')\n"
    command = [sys.executable, "-S", "-c", enter + code, str(group / "cgroup.procs"), *arguments]
    return subprocess.run(command, timeout=60).returncode


def run(*command: str) -> str:
    """Standard output; an exception unless it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.returncode} {done.stderr}"
    return done.stdout


def main() -> int:
    failed = 0
    for check in CHECKS:
        try:
            print(f"{check.__name__.replace('_', ' ')}: {check()}", flush=True)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"{check.__name__.replace('_', ' ')}: FAILED: {error!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
