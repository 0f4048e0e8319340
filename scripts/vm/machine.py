"""One virtual machine: starts QEMU, follows its console, ends it at its deadline, and says how it went.

QEMU has no network, one disk that is forgotten, and dies with us. Results come over a second serial port, so whatever
is printed on the console cannot be taken for one.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpio import Archive
from kernel import Kernel, Unavailable

QEMU = "qemu-system-x86_64"
# What a kernel prints when something is broken that no exit status shows.
KERNEL_FAILURE = re.compile(r"Kernel panic - .*|Oops: .*|BUG: (?!soft lockup).*")
# Between the end of the console and the end of QEMU.
LAST_WORDS_SECONDS = 5.0
PROBE_SECONDS = 15.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Size:
    """What the machine has."""

    cpus: int = 2
    memory: str = "2G"
    disk: str = "4G"


@dataclass
class Outcome:
    """How a machine's life went. `status` is 0 only if all steps were run and succeeded."""

    status: int
    reason: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def qemu() -> str:
    """The emulator."""
    found = shutil.which(QEMU)
    if found is None:
        raise Unavailable(f"{QEMU} is missing; install qemu-system-x86")
    return found


def command(
    kernel: Kernel, accelerator: str, size: Size, serial: Iterable[str], more: Iterable[str], words: str = ""
) -> list[str]:
    """QEMU's command line. `serial` are the serial ports, `words` are put on the kernel's command line."""
    # The host is not a guest's enemy here: without mitigations emulation is faster.
    kernel_words = (
        "console=ttyS0 cgroup_no_v1=all psi=1 panic=-1 oops=panic loglevel=4 random.trust_cpu=on mitigations=off "
        f"tsc=reliable {words}"
    )
    ports = [part for port in serial for part in ("-serial", port)]
    return [
        qemu(),
        *("-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"),
        *("-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max"),
        *("-smp", str(size.cpus), "-m", size.memory),
        *("-kernel", str(kernel.image), "-append", kernel_words.strip()),
        *ports,
        *more,
    ]


def accelerator(kernel: Kernel, cache: Path) -> tuple[str, str]:
    """("kvm" or "tcg", why). A /dev/kvm that opens may still not run a kernel: one is started, until it asks for a disk."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "no usable /dev/kvm"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = cache / f"kvm-{boot}-{kernel.release}"
    if not known.is_file():
        run = command(kernel, "kvm", Size(memory="512M"), ["stdio"], [])
        try:
            # Without a file system the kernel panics, and QEMU ends.
            done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS)
            works = b"Unable to mount root" in done.stdout
        except subprocess.TimeoutExpired:
            works = False
        for old in cache.glob("kvm-*"):
            old.unlink()
        known.write_text("works" if works else "does not")
    return ("kvm", "works") if known.read_text() == "works" else ("tcg", "/dev/kvm opens, but does not run this kernel")


def write_files(directory: Path, archive: Archive, size: Size) -> list[str]:
    """The initial file system and an empty disk; QEMU's arguments for them."""
    directory.mkdir(parents=True, exist_ok=True)
    initial, disk = directory / "initramfs.cpio", directory / "disk.raw"
    with initial.open("wb") as output:
        archive.write(output)
    disk.unlink(missing_ok=True)
    units = {"M": 1 << 20, "G": 1 << 30}
    with disk.open("wb") as output:
        output.truncate(int(size.disk[:-1]) * units[size.disk[-1]])  # sparse
    drive = f"file={disk},format=raw,if=none,id=disk,cache=unsafe"
    # Without operations that depend on the file system below the file: some fail there, and a test would see an I/O error.
    device = "virtio-blk-pci,drive=disk,discard=off,write-zeroes=off"
    return ["-initrd", str(initial), "-drive", drive, "-device", device]


def run(kernel: Kernel, accel: str, size: Size, directory: Path, files: list[str], seconds: float, words: str = "") -> Outcome:
    """Boot, follow the console until the machine is off or the deadline has come, and judge."""
    report, console = directory / "report.jsonl", directory / "console.txt"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    child = subprocess.Popen(
        command(kernel, accel, size, ["stdio", f"file:{report}"], files, words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    try:
        with console.open("wb") as copy:
            late = not follow(child, began + seconds, copy)
    finally:
        # Ours alone, by its process; a machine that has turned itself off has ended already.
        child.kill()
        child.wait()
    deadline = f"{seconds:.0f} s" if late else ""
    outcome = judge(read_report(report), console.read_text(errors="replace"), deadline, child.returncode)
    outcome.seconds = time.monotonic() - began
    return outcome


def follow(child: subprocess.Popen[bytes], deadline: float, copy: Any) -> bool:
    """Show and keep the console; False if the deadline came first."""
    assert child.stdout is not None
    selector = selectors.DefaultSelector()
    selector.register(child.stdout, selectors.EVENT_READ)
    while (left := deadline - time.monotonic()) > 0:
        if not selector.select(left):
            continue
        data = os.read(child.stdout.fileno(), 65536)
        if not data:
            return exited(child)
        data = data.replace(b"\r", b"")
        copy.write(data)
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    return False


def exited(child: subprocess.Popen[bytes]) -> bool:
    """Its console is closed: it ends too, or is as good as hanging."""
    try:
        child.wait(timeout=LAST_WORDS_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def read_report(path: Path) -> list[dict[str, Any]]:
    """The lines that arrived in full."""
    if not path.is_file():
        return []
    lines = path.read_text(errors="replace").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")]


def judge(report: list[dict[str, Any]], console: str, late: str, status: int) -> Outcome:
    """From what is known to one status and one reason. `late` is the deadline if it was missed."""
    steps = [line for line in report if "step" in line]
    end = next((line["end"] for line in report if "end" in line), None)
    broken = KERNEL_FAILURE.search(console)
    if broken:
        return Outcome(1, f"the kernel failed: {broken[0].strip()}", steps)
    if late:
        return Outcome(124, f"the machine was not off after {late} and was killed", steps)
    if end is None:
        return Outcome(1, f"the machine ended (QEMU status {status}) before its steps were done", steps)
    failed = [step["step"] for step in steps if step["status"] != 0]
    if end != 0 or failed:
        return Outcome(end or 1, f"failed: {', '.join(failed)}", steps)
    return Outcome(0, "all steps succeeded", steps)


def shell(kernel: Kernel, accel: str, size: Size, files: list[str]) -> int:
    """A shell on this terminal; Ctrl-A X ends the machine."""
    return subprocess.run(command(kernel, accel, size, ["mon:stdio"], files), preexec_fn=die_with_parent).returncode


def die_with_parent() -> None:
    """In the child: be killed when the process that started us ends, however it ends (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
