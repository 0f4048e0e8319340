"""Runs the steps of a virtual machine's life inside it, each in a cgroup of its own, and reports on file descriptor 9.

A step's cgroup has every controller delegated to it, as a systemd service with Delegate=yes. A step fails with its exit
status, with 124 if it runs longer than it may, and with 125 if it leaves processes, cgroups, mounts or loop devices.
Knows nothing of Serpentry. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

REPORT = 9
TIMED_OUT = 124
LEFT_BEHIND = 125
CGROUPS = Path("/sys/fs/cgroup")
# What ends a moment after the step, such as a cgroup whose last process is still exiting, is not left behind.
SETTLE_SECONDS = 5.0


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_text())
    worst = 0
    for number, step in enumerate(plan["steps"]):
        result = run(number, step)
        report({"step": step["name"], **result})
        worst = worst or result["status"]
    report({"end": worst})
    # Turning the machine off does not wait for what a serial port has not sent yet.
    sys.stdout.flush()
    for port in (sys.stdout.fileno(), REPORT):
        termios.tcdrain(port)
    return worst


def run(number: int, step: dict[str, Any]) -> dict[str, Any]:
    """Run one step to its end or its deadline; nothing of it survives."""
    print(f"\n-- {step['name']}: {' '.join(step['command'])}", flush=True)
    before = traces()
    began = time.monotonic()
    cgroup = CGROUPS / f"step-{number}.service"
    cgroup.mkdir()
    environment = {**os.environ, **step.get("environment", {})}
    status = 127
    try:
        child = subprocess.Popen(
            step["command"],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: (cgroup / "cgroup.procs").write_text("0"),
        )
        status = child.wait(timeout=step["seconds"])
    except subprocess.TimeoutExpired:
        status = TIMED_OUT
        print(f"-- {step['name']}: still running after {step['seconds']} s, killed", flush=True)
    except OSError as error:
        print(f"-- {step['name']}: cannot be run: {error}", flush=True)
    seconds = time.monotonic() - began
    left = [] if status == TIMED_OUT else leftovers(before, cgroup)
    end(cgroup)
    for trace in left:
        print(f"-- {step['name']}: left behind: {trace}", flush=True)
    if left and status == 0:
        status = LEFT_BEHIND
    # A status of a signal is negative here and 128 + signal for a shell.
    status = 128 - status if status < 0 else status
    print(f"-- {step['name']}: {'ok' if status == 0 else f'failed ({status})'} after {seconds:.1f} s", flush=True)
    return {"status": status, "seconds": round(seconds, 1), "left": left}


def traces() -> set[str]:
    """Everything in the machine that a step could leave."""
    found = {f"cgroup {path}" for path, _, _ in os.walk(CGROUPS)}
    found |= {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    found |= {f"loop device {path.parent.parent.name}" for path in Path("/sys/block").glob("loop*/loop/backing_file")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if command:  # neither a kernel thread nor a process that has ended
            found.add(f"process {process.name} ({command})")
    return found


def leftovers(before: set[str], cgroup: Path) -> list[str]:
    """What is there that was not before, after a time to settle."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = sorted(trace for trace in traces() - before if trace != f"cgroup {cgroup}")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def end(cgroup: Path) -> None:
    """Kill all that is in the cgroup and remove it, with what is below it."""
    (cgroup / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if "populated 0" in (cgroup / "cgroup.events").read_text():
            break
        time.sleep(0.02)
    for path, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(path).rmdir()
        except OSError as error:
            print(f"-- {path} stays: {error}", flush=True)


def report(line: dict[str, Any]) -> None:
    """One line of JSON for the other side of the second serial port."""
    os.write(REPORT, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
