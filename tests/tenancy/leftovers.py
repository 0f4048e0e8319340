"""What is on the machine outside of processes' memory: taken before and after, the two must be the same.

Cgroups in every hierarchy, mounts of this mount namespace, loop devices with their files, named network namespaces
and all that any process is in, interfaces, nftables tables, marked processes, traces in /run and /dev/shm, and the
one sysctl that packet forwarding needs. Things of others may come and go meanwhile: unless `alone` is asked for, only
what names our folder, our host or what Serpentry calls its own counts; the rest is not even printed.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import groups
import hosting

# How long the kernel may take to be done with what was removed (namespaces and loop devices end asynchronously).
SETTLE_SECONDS = 10.0
OURS = "serpentry"
YARD = "tenancy-"


@dataclass(frozen=True)
class Snapshot:
    """Sets of printable things, by kind."""

    things: dict[str, frozenset[str]]

    @classmethod
    def take(cls) -> Snapshot:
        """Look everywhere."""
        return cls(
            {
                "cgroup": frozenset(groups.all_groups()),
                "mount": frozenset(mounts()),
                "loop device": frozenset(loop_devices()),
                "network namespace": frozenset(network_namespaces()),
                "interface": frozenset(name for _, name in socket.if_nameindex()),
                "nftables table": frozenset(nft_tables()),
                "process": frozenset(processes()),
                "file": frozenset(files()),
                "setting": frozenset(settings()),
            }
        )

    def left_behind(self, folder: Path, *, alone: bool, seconds: float = SETTLE_SECONDS) -> list[str]:
        """What is there now and was not, and what is gone, once it has settled."""
        deadline = time.monotonic() + seconds
        while True:
            left = self._differences(Snapshot.take(), folder, alone)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)

    def _differences(self, now: Snapshot, folder: Path, alone: bool) -> list[str]:
        found = []
        for kind, before in self.things.items():
            for sign, items in (("new", now.things[kind] - before), ("gone", before - now.things[kind])):
                for item in sorted(items):
                    if alone or is_ours(kind, item, folder):
                        found.append(f"{kind} ({sign}): {item}")
        return found


def is_ours(kind: str, item: str, folder: Path) -> bool:
    """Can it be of our hosts? Other tests on the machine make things with other folders and marks."""
    # The network is our own (world.py).
    if kind in ("process", "setting", "interface", "nftables table"):
        return True
    if kind == "cgroup":
        # Our hosts run below a yard; its end asks what is in it.
        return YARD in item
    if kind in ("mount", "loop device"):
        return str(folder) in item
    if kind == "file":
        # Other tests put folders of such names into /tmp, and remove them.
        return OURS in item and not item.startswith("/tmp/")
    return OURS in item


def mounts() -> set[str]:
    """Type, source and mount point: their numbers differ each time."""
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, source = right.split()[:2]
        found.add(f"{kind} {source} on {left.split()[4]}")
    return found


def loop_devices() -> set[str]:
    """Attached ones, with their files."""
    found = set()
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        text = groups.read(path)
        if text is not None:
            found.add(f"{path.parent.parent.name}: {text}")
    return found


def network_namespaces() -> set[str]:
    """Named ones by their name, and those of processes of this run by their number."""
    named = {f"/run/netns/{name}" for name in listing("/run/netns")} | {
        f"/run/serpentry/{name}" for name in listing("/run/serpentry")
    }
    own = os.readlink("/proc/self/ns/net")
    for pid in hosting.processes_marked(hosting.RUN_MARK):
        try:
            link = os.readlink(f"/proc/{pid}/ns/net")
        except OSError:
            continue
        if link != own:
            named.add(f"serpentry {link}")
    return named


def processes() -> set[str]:
    """Of this run, by what they are: none is there before or after."""
    found = set()
    for pid in hosting.processes_marked(hosting.RUN_MARK):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found.add(f"{pid} {command.strip()}")
    return found


def files() -> set[str]:
    """Entries of directories that outlive a program."""
    return {f"{folder}/{name}" for folder in ("/run", "/dev/shm", "/var/lib", "/tmp") for name in listing(folder)}


def settings() -> set[str]:
    """Whether packets are forwarded."""
    return {f"ip_forward={groups.read(Path('/proc/sys/net/ipv4/ip_forward'))}"}


def listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


# ---- nftables, without nft ----

NETLINK_NETFILTER = 12
# linux/netfilter/nfnetlink.h, nf_tables.h: subsystem in the high byte.
GET_TABLE = 10 << 8 | 1
REQUEST_DUMP = 0x0001 | 0x0300
DONE, ERROR = 3, 2
TABLE_NAME = 1


def nft_tables() -> set[str]:
    """Tables of all families in this network namespace, asked of the kernel; empty where nftables is not there."""
    found: set[str] = set()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
            link.settimeout(5)
            # nlmsghdr, then nfgenmsg: any family, version 0, resource 0.
            link.send(struct.pack("=IHHII", 20, GET_TABLE, REQUEST_DUMP, 1, 0) + struct.pack("=BBH", 0, 0, 0))
            while True:
                data = link.recv(1 << 16)
                while len(data) >= 16:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind in (DONE, ERROR):
                        return found
                    found.add(f"family {data[16]}: {table_name(data[20:length])}")
                    data = data[(length + 3) & ~3 :]
    except OSError:
        return found


def table_name(attributes: bytes) -> str:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind & 0x3FFF == TABLE_NAME:
            return attributes[4:length].rstrip(b"\0").decode(errors="replace")
        attributes = attributes[max(4, (length + 3) & ~3) :]
    return "?"
