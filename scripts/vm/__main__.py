#!/usr/bin/env python3
"""A virtual machine with pure cgroup v2 that tests boot themselves: `python3 scripts/vm test|run|shell`.

    python3 scripts/vm test                             what `make test-v2` runs
    python3 scripts/vm run -- python3 tests/v2/hello.py      one command inside, with its exit status
    python3 scripts/vm shell                            look around

How it works and how to add a test: docs/testing-v2.md. The exit status is that of the first step that failed, 124 for a
missed deadline, 69 (EX_UNAVAILABLE) with one sentence if this machine cannot have the virtual machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import image
import machine
from kernel import Unavailable, fetch

ROOT = image.ROOT
CACHE = ROOT / "target/vm"
UNAVAILABLE = 69
# Emulation is ten to thirty times slower than the processor; these bound what hangs, they measure nothing.
STEP_SECONDS = 120
MACHINE_SECONDS = 600


def main() -> int:
    options = arguments()
    # So that `finally` ends the machine.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return act(options)
    except Unavailable as error:
        print(f"vm: {error}", file=sys.stderr)
        return UNAVAILABLE
    except KeyboardInterrupt:
        return 130


def act(options: argparse.Namespace) -> int:
    """Get the parts together, boot, say how it went."""
    began = time.monotonic()
    machine.qemu()
    image.needed()
    CACHE.mkdir(parents=True, exist_ok=True)
    kernel = fetch(CACHE, options.kernel)
    if options.do == "check":
        return 0
    program = options.program.resolve()
    if not program.is_file():
        raise Unavailable(f"{program} is missing; `make build` makes it, --program takes another")
    tests = rust_tests(options.package) if options.do == "test" or options.package else []
    steps = None if options.do == "shell" else listed(options, tests, program)
    accel, why = (options.accel, "asked for") if options.accel else machine.accelerator(kernel, CACHE)
    size = machine.Size(options.cpus, options.memory, options.disk)
    directory = CACHE / f"run-{os.getpid()}"
    forget_the_dead()
    try:
        archive = image.build(kernel, program, tests, options.add, steps)
        files = machine.write_files(directory, archive, size)
        mib = (directory / "initramfs.cpio").stat().st_size >> 20
        print(
            f"vm: Linux {kernel.release}, {size.cpus} CPUs, {size.memory}, {accel} ({why}), "
            f"{mib} MiB of files, made in {time.monotonic() - began:.1f} s",
            flush=True,
        )
        if options.do == "shell":
            return machine.shell(kernel, accel, size, files)
        outcome = machine.run(kernel, accel, size, directory, files, options.deadline, options.append)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"\nvm: {outcome.reason}")
    for step in outcome.steps:
        print(f"  {'ok    ' if step['status'] == 0 else 'FAILED'} {step['seconds']:6.1f} s  {step['step']} ({step['status']})")
    print(f"vm: status {outcome.status} after {outcome.seconds:.1f} s")
    return outcome.status


def forget_the_dead() -> None:
    """Remove the files of runs that were killed."""
    for directory in CACHE.glob("run-*"):
        if not Path("/proc", directory.name.removeprefix("run-")).exists():
            shutil.rmtree(directory, ignore_errors=True)


# Integration tests of crates that are run inside.
INSIDE = ("cgroup",)

# Tests of those that are not run inside, and why.
NOT_HERE = {
    "a_host_killed_at_any_step_leaves_nothing_in_the_way": "under emulation an empty group was left once where a host "
    "was killed while it was choosing its place in the version 2 hierarchy: not understood yet"
}


def listed(options: argparse.Namespace, tests: list[Path], program: Path) -> list[dict[str, object]]:
    """The steps: the command that was given, or all tests."""
    if options.do == "run":
        return [step("command", options.command, options.seconds)]
    steps = [step("the machine", ["python3", str(ROOT / "tests/v2/machine.py")], options.seconds)]
    for test in tests:
        command = [str(test), "--test-threads=2", *(f"--skip={name}" for name in NOT_HERE)]
        steps.append(step(f"Rust tests {test.name.rsplit('-', 1)[0]}", command, options.seconds))
    for name, why in NOT_HERE.items():
        print(f"skipped: {name}: {why}")
    if "doctor" in subprocess.run([str(program), "help"], capture_output=True, text=True).stdout:
        steps.append(step("serpentry doctor", [str(image.PROGRAM), "doctor"], options.seconds))
    else:
        print("not run: serpentry doctor (this program has no such command)")
    for path in sorted((ROOT / "tests/v2").iterdir()):
        if path.is_file() and os.access(path, os.X_OK) and path.name != "machine.py":
            steps.append(step(f"tests/v2/{path.name}", [str(path)], options.seconds))
    return steps


def step(name: str, command: list[str], seconds: int) -> dict[str, object]:
    """One command inside."""
    environment = {"SERPENTRY_V2_MACHINE": "1", "SERPENTRY_DISK": "/disk", "PYTHONDONTWRITEBYTECODE": "1"}
    return {"name": name, "command": command, "seconds": seconds, "environment": environment}


def rust_tests(packages: list[str]) -> list[Path]:
    """Build the tests of these packages and say where they are."""
    build = ["cargo", "test", "--no-run", "--message-format=json", "--quiet", *(f"--package={name}" for name in packages)]
    done = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("vm: the Rust tests do not build")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    # Those that depend on the version of control groups; what else they test is the same on any machine, and tested there.
    tests = [line for line in lines if line.get("executable") and line["target"]["name"] in INSIDE]
    found = {Path(line["executable"]) for line in tests}
    if not found:
        sys.exit(f"vm: no Rust tests in {', '.join(packages)}")
    return sorted(found)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/vm", description="a virtual machine with pure cgroup v2")
    parser.add_argument("do", choices=["test", "run", "shell", "check"], help="check: say whether this machine can have it")
    parser.add_argument("--program", type=Path, default=image.PROGRAM, metavar="PATH", help="serpentry")
    parser.add_argument("--package", action="append", default=[], metavar="CRATE", help="Rust tests; test: jail")
    parser.add_argument("--add", action="append", type=Path, default=[], metavar="PATH", help="a file or directory to take along")
    parser.add_argument("--kernel", default="", metavar="VERSION", help="for example 6.1; default: the newest")
    parser.add_argument("--accel", choices=["kvm", "tcg"], help="default: kvm if it really works")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--disk", default="4G", help="M or G; mounted at /disk, forgotten afterwards")
    parser.add_argument("--seconds", type=int, default=STEP_SECONDS, help="for each step")
    parser.add_argument("--deadline", type=float, default=MACHINE_SECONDS, metavar="SECONDS", help="for the machine")
    parser.add_argument("--append", default="", metavar="WORDS", help="for the kernel's command line")
    parser.epilog = "run: what to run inside stands after --"
    # Split here: argparse would take the command's own options for ours.
    words = sys.argv[1:]
    mark = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:mark])
    options.command = words[mark + 1 :]
    options.add = [path.absolute() for path in options.add]
    if options.do == "test" and not options.package:
        options.package = ["jail"]
    if (options.do == "run") != bool(options.command):
        parser.error("`run` needs a command, the others take none")
    return options


if __name__ == "__main__":
    sys.exit(main())
