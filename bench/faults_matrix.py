"""Every fault of `serpentry drill` in both tenancies, some at the same time on hosts of their own.

Faults whose cause or whose explanation is time on processors run when nothing else does; the others sleep most of their
time, so several hosts at once disturb each other little, and what they disturb makes the figures worse, not better.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hosting import marked

# What others would take the processors from, or who would take them from others.
ALONE = {"starved", "throttled", "blocked-loop", "gil", "cpu-heavy", "log-flood", "crash-loop"}
# Begun first: they take longest.
LONG = ("cache", "leak", "starved")


def run(
    program: Path, python: str, repeat: int, at_once: int, only: list[str], keep: Callable[[dict[str, Any]], None]
) -> None:
    """Each drill is given to `keep` when it is done, from one thread at a time."""
    known = [fault["fault"] for fault in json.loads(subprocess.check_output([str(program), "drill", "--json"], text=True))]
    names = sorted((name for name in known if not only or name in only), key=lambda name: name not in LONG)
    tenancies = ["shared", "isolated"] if os.geteuid() == 0 else ["shared"]
    if len(tenancies) == 1:
        print("faults: not root, so nothing can be isolated: the shared half only", file=sys.stderr)
    lock = threading.Lock()

    def keep_one(drill: dict[str, Any]) -> None:
        with lock:
            keep(drill)

    def one(job: tuple[str, str]) -> None:
        repeated(program, python, repeat, *job, keep_one)

    for alone in (True, False):
        jobs = [(name, tenancy) for name in names if (name in ALONE) == alone for tenancy in tenancies]
        with ThreadPoolExecutor(1 if alone else at_once) as pool:
            list(pool.map(one, jobs))


def repeated(
    program: Path, python: str, repeat: int, fault: str, tenancy: str, keep: Callable[[dict[str, Any]], None]
) -> None:
    command = [str(program), "drill", "--all", "--json", "--only", fault, "--tenancy", tenancy]
    command += ["--repeat", str(repeat), "--python", python]
    environment = marked(dict(os.environ), "matrix")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            drill = json.loads(line)
            keep(drill)
            beside = "".join(f", beside it {it['code']} of {it['app']}" for it in drill["false"])
            seconds = drill["seconds_to_incident"]
            after = "" if seconds is None else f" after {seconds:.2f} s"
            print(f"{fault} ({tenancy}): {drill['outcome']}{after}{beside}", file=sys.stderr, flush=True)
