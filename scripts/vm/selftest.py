#!/usr/bin/env python3
"""The virtual machine's harness fails when it should: a failing, hanging, killed, messy or lying step, a panic, a missed
deadline, our own death, missing tools. Part of `make test-v2`.

    python3 scripts/vm/selftest.py [NAME...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import image
import kernel
import machine

CACHE = image.ROOT / "target/vm"
SIZE = machine.Size(memory="1G", disk="64M")
PATIENT = 240.0


def boot(steps: list[dict[str, object]], seconds: float = PATIENT) -> machine.Outcome:
    """One life of a machine with these steps."""
    found = kernel.fetch(CACHE)
    accelerator, _ = machine.accelerator(found, CACHE)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        archive = image.build(found, Path("/bin/true"), [], [], steps)
        files = machine.write_files(Path(folder), archive, SIZE)
        return machine.run(found, accelerator, SIZE, Path(folder), files, seconds)


def step(name: str, script: str, seconds: int = 60) -> dict[str, object]:
    return {"name": name, "command": ["sh", "-c", script], "seconds": seconds}


def test_each_way_in_which_a_step_fails() -> None:
    """All steps are run, each has its status, and the machine has that of the first failure."""
    outcome = boot(
        [
            step("good", "true"),
            step("bad", "exit 3"),
            step("hangs", "sleep 600 & sleep 600", seconds=2),
            step("killed", "kill -KILL $$"),
            {"name": "missing", "command": ["/no/such/program"], "seconds": 5},
            step("leaves a process", "setsid sleep 600 &"),
            step("leaves a cgroup", "mkdir /sys/fs/cgroup/left"),
            step("leaves a mount", "mount -t tmpfs left /mnt"),
            step("is not disturbed by those", "! ps | grep -q '[s]leep 600'"),
        ]
    )
    statuses = {line["step"]: line["status"] for line in outcome.steps}
    assert statuses == {
        "good": 0,
        "bad": 3,
        "hangs": 124,
        "killed": 137,
        "missing": 127,
        "leaves a process": 125,
        "leaves a cgroup": 125,
        "leaves a mount": 125,
        "is not disturbed by those": 0,
    }, statuses
    assert outcome.status == 3, outcome
    assert outcome.reason.startswith("failed: bad, hangs, killed"), outcome.reason


def test_a_kernel_panic_is_reported() -> None:
    outcome = boot([step("panics", "echo c > /proc/sysrq-trigger; sleep 60")])
    assert outcome.status == 1 and outcome.reason.startswith("the kernel failed: "), outcome


def test_what_is_printed_is_no_result() -> None:
    """A machine that turns itself off before it reports has failed, whatever its console says."""
    lie = """echo '{"step": "lies", "status": 0}'; echo '{"end": 0}'; poweroff -f; sleep 60"""
    outcome = boot([step("lies", lie)])
    assert outcome.status == 1 and "before its steps were done" in outcome.reason, outcome


def test_a_machine_that_hangs_is_cut_off() -> None:
    outcome = boot([step("hangs", "sleep 600", seconds=600)], seconds=4.0)
    assert outcome.status == 124 and "killed" in outcome.reason, outcome


def test_the_emulator_dies_with_us() -> None:
    """Also when we are killed, and can do nothing about it any more."""
    run = [sys.executable, str(image.ROOT / "scripts/vm"), "run", "--program", "/bin/true", "--", "sleep", "600"]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(run, stdout=output, stderr=subprocess.STDOUT)
        try:
            # Until the machine is silent: one that prints would end by itself, when nobody reads it any more.
            wait(lambda: b"-- command: sleep 600" in os.pread(output.fileno(), 1 << 20, 0), "the step was not started")
            pid = emulator_of(child.pid)
        finally:
            child.kill()
            child.wait()
    assert pid, "QEMU is not our child"
    wait(lambda: not Path(f"/proc/{pid}").exists(), "QEMU outlived us", seconds=20.0)


def test_what_is_missing_is_said_in_one_sentence() -> None:
    run = [sys.executable, str(image.ROOT / "scripts/vm"), "check"]
    done = subprocess.run(run, env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (69, ""), done
    assert done.stderr == "vm: qemu-system-x86_64 is missing; install qemu-system-x86\n", done.stderr
    done = subprocess.run([*run, "--kernel", "9.9"], capture_output=True, text=True)
    assert done.returncode == 69 and "no package linux-image 9.9*" in done.stderr, done.stderr


def test_the_newest_kernel_is_that_of_the_highest_version() -> None:
    versions = ("6.1.0-56", "6.12.117+deb12", "6.12.99+deb12")
    names = [f"linux-image-{version}-cloud-amd64" for version in versions]
    others = ["linux-image-cloud-amd64", "linux-image-6.99.1-amd64", "linux-image-6.12.999-cloud-amd64-unsigned"]
    assert kernel.newest(names + others, "") == names[1]
    assert kernel.newest(names + others, "6.1.") == names[0]


def test_a_missing_result_is_a_failure() -> None:
    """Judging alone: half a report, a report that contradicts itself, a kernel's complaint beside good results."""
    good = [{"step": "a", "status": 0, "seconds": 1}, {"end": 0}]
    assert machine.judge(good, "", "", 0).status == 0
    assert machine.judge(good[:1], "", "", 0).status == 1
    assert machine.judge([{"step": "a", "status": 2, "seconds": 1}, {"end": 0}], "", "", 0).status == 1
    assert machine.judge(good, "[ 1.0] BUG: kernel NULL pointer dereference", "", 0).status == 1
    assert machine.judge(good, "", "5 s", -9).status == 124


def emulator_of(pid: int) -> int:
    """The pid of the child that is QEMU; 0 if there is none yet."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(pid) and b"-initrd" in (process / "cmdline").read_bytes():
                return int(process.name)
        except OSError:
            continue  # ended meanwhile
    return 0


def wait(condition, complaint: str, seconds: float = PATIENT):  # noqa: ANN001, ANN201 - any condition, its value
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)
    return value


def main() -> int:
    failed = []
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (sys.argv[1:] and name not in sys.argv[1:]):
            continue
        print(f"\n==== {name}", flush=True)
        began = time.monotonic()
        try:
            test()
            print(f"==== {name}: ok after {time.monotonic() - began:.1f} s", flush=True)
        except AssertionError as error:
            failed.append(name)
            print(f"==== {name}: FAILED: {error}", flush=True)
    print(f"\nvm selftest: {f'failed: {json.dumps(failed)}' if failed else 'ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
