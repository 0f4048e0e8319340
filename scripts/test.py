#!/usr/bin/env python3
"""Everything that `make test` runs, in the order in which a failure is cheapest.

Each step prints its name, what it runs, and how long it took. All of them run, whatever fails, unless there is no program.
A step of tests over real processes that fails is run once more: machines are shared, and what happens beside may be slow.
What passed only then is named at the end: it is a defect of the test or of the program, to be found, and not hidden.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYO3_NO_PYTHON": "1",
    "PYO3_BUILD_EXTENSION_MODULE": "1",
}
PROGRAM = "the finished program"
# They give the same result each time.
CERTAIN = {"formatting", "lints", "worker lints", "dependencies", PROGRAM}


def has(*command: str) -> bool:
    """True if the command exists and works."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def steps() -> list[tuple[str, list[str]]]:
    """Names and commands. Optional tools that are missing are named, not passed over in silence."""
    found: list[tuple[str, list[str]]] = []
    if has("cargo", "fmt", "--version"):
        found.append(("formatting", ["cargo", "fmt", "--all", "--check"]))
    else:
        print("not run: formatting (rustfmt is not installed)")
    if has("cargo", "clippy", "--version"):
        deny = ["--", "-D", "warnings"]
        found.append(("lints", ["cargo", "clippy", "--workspace", "--exclude", "worker", "--all-targets", *deny]))
        # The worker is an extension module for one stable ABI: a build of its own, without an interpreter.
        found.append(("worker lints", ["cargo", "clippy", "--package", "worker", "--features", "abi3-py312", *deny]))
    else:
        print("not run: lints (clippy is not installed)")
    if has("cargo", "deny", "--version"):
        found.append(("dependencies", ["cargo", "deny", "check", "bans", "licenses", "sources"]))
    else:
        print("not run: dependency policy (cargo-deny is not installed)")
    found.append((PROGRAM, ["cargo", "xtask", "dist"]))
    nextest = has("cargo", "nextest", "--version")
    runner = ["cargo", "nextest", "run"] if nextest else ["cargo", "test"]
    found.append(("Rust tests", [*runner, "--workspace", "--exclude", "worker", "--no-fail-fast"]))
    found.append(("worker tests", [sys.executable, "scripts/worker_tests.py"]))
    found.append(("control interface", [sys.executable, "tests/control/run.py"]))
    found.append(("black-box tests", [sys.executable, "scripts/blackbox.py"]))
    found.append(("host tests", [sys.executable, "scripts/host_tests.py"]))
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        # The Rust tests wrote these.
        reports = [f"target/tmp/report-{name}.html" for name in ("ordinary", "hostile")]
        found.append(("reports in a browser", [sys.executable, "scripts/report_browser.py", *reports]))
    else:
        print("not run: reports in a browser (Chromium is not installed)")
    machine = subprocess.run([sys.executable, "scripts/vm", "check"], cwd=ROOT, capture_output=True, text=True)
    if machine.returncode == 0:
        found.append(("pure cgroup v2 (virtual machine)", [sys.executable, "scripts/vm", "test"]))
    else:
        print(f"not run: pure cgroup v2 ({machine.stderr.strip().removeprefix('vm: ')})")
    short = ["--seconds", "15", "--reloads", "6"]
    found.append(("drill: everything changes under load", [sys.executable, "scripts/drill.py", *short]))
    fewer = ["--apps", "200", "--wake", "10", "--idle-seconds", "2"]
    found.append(("drill: sleepers", [sys.executable, "scripts/drill_sleepers.py", *fewer]))
    if os.geteuid() == 0:
        # Shares by weight are divided by the kernel for each processor and evened out within seconds: figures for
        # docs/tenancy-measured.md, and no verdict of a test.
        weights = ["--without", "more processes", "--without", "neighbour's weight"]
        found.append(("tenancy tests", [sys.executable, "scripts/tenancy_tests.py", *weights]))
        found.append(("drill: moves between tenancies", [sys.executable, "scripts/drill_move.py", "--moves", "20"]))
    else:
        print("not run: tenancy tests and the drill of moves (only root can isolate applications)")
    found.append(("drill: killed host", [sys.executable, "scripts/drill_kill.py", "--rounds", "3"]))
    found.append(("demonstration", [sys.executable, "scripts/demo.py"]))
    return found


def processor_seconds() -> dict[str, tuple[float, str]]:
    """Of each process, by its number, with its command line (proc_pid_stat(5): utime and stime are fields 14 and 15)."""
    found: dict[str, tuple[float, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It ended meanwhile.
        found[stat.parent.name] = ((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), command or fields[0])
    return found


def busy(seconds: float = 1.0) -> list[str]:
    """What uses the processor between two steps, when nothing of ours should: left behind by a step, or somebody else's."""
    before = processor_seconds()
    time.sleep(seconds)
    used = [(now - before.get(pid, (now, ""))[0], pid, what) for pid, (now, what) in processor_seconds().items()]
    return [f"process {pid} uses {cores / seconds:.0%} of a core: {what:.100}" for cores, pid, what in used if cores > 0.2 * seconds]


def run(name: str, command: list[str]) -> bool:
    """Run one step; True if it passed."""
    print(f"\n== {name}: {' '.join(command)}", flush=True)
    for line in busy():
        print(f"== beside it: {line}", flush=True)
    start = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT).returncode
    print(f"== {name}: {'ok' if status == 0 else f'failed ({status})'} after {time.monotonic() - start:.0f} s", flush=True)
    return status == 0


def main() -> int:
    prerequisites = subprocess.run(["sh", "scripts/prerequisites.sh"], cwd=ROOT)
    if prerequisites.returncode != 0:
        return prerequisites.returncode
    began = time.monotonic()
    failed, unsteady = [], []
    for name, command in steps():
        if run(name, command):
            continue
        if name in CERTAIN:
            failed.append(name)
        elif run(f"{name}, once more", command):
            unsteady.append(name)
        else:
            failed.append(name)
        if PROGRAM in failed:
            break
    print(f"\n{time.monotonic() - began:.0f} s")
    if unsteady:
        print(f"PASSED ONLY WHEN RUN AGAIN: {', '.join(unsteady)} (the first run's failures are above)")
    print(f"failed: {', '.join(failed)}" if failed else "all tests passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
