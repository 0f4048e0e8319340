"""Faults in several applications of one host at once, and whether each incident names the right one.

A round is a host of its own (`serpentry drill --serve`) on which three test applications, of different kinds, are done
something to at the same time, chosen at random from a seed. Then every incident of the host is looked at: it must be of
an application that something was done to, with the code of that fault or one that follows from it. What follows beyond
the fault's own list is in `follows`: each with what the incident must name for it to be true.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hosting import HostError, clean_environment, marked

# Faults that any of the three can have; those that need what only one of them has come from the program's own list.
ANYWHERE = ("oom", "segv", "exit", "kill", "boot", "exception", "short-answer", "broken-response", "deadline")
OVER_HTTP = ("oversize", "slow-client", "open-files")
# What computes, so that others may rightly be said to wait for it.
# Who fills the pool makes the kernel choose among all.
POOL = "pool"
COMPUTING = {"starved", "throttled", "gil", "cpu-heavy", "log-flood", "leak", "cache", "blocked-loop", "crash-loop"}
# What a fraction of a core adds to any fault of `batch`.
BATCH = {"C10", "C20", "D10", "N30", "N12", "N20"}
# A request that was inside of a worker which ended is run again, and its time goes on.
ENDING = {"oom", "segv", "exit", "kill", "pool"}
READY = re.compile(r"--state (\S+)")
START_SECONDS = 60.0


def run(
    program: Path, python: str, rounds: int, at_once: int, seed: int, keep: Callable[[dict[str, Any]], None]
) -> None:
    """So many rounds, each given to `keep` when it is done; every second one isolated if we may."""
    known = json.loads(subprocess.check_output([str(program), "drill", "--json"], text=True))
    faults = {fault["fault"]: fault for fault in known}
    rng = random.Random(seed)
    plans = [(number, choose(faults, rng)) for number in range(rounds)]
    lock = threading.Lock()

    def one(numbered: tuple[int, dict[str, str]]) -> None:
        number, plan = numbered
        tenancy = "isolated" if number % 2 and os.geteuid() == 0 else "shared"
        it = one_round(program, python, tenancy, plan, faults)
        wrong = "; ".join(f"{no['app']} {no['code']}" for no in it["false"]) or "none false"
        with lock:
            keep({"round": number, "tenancy": tenancy, **it})
            print(f"mixed {number + 1}/{rounds} ({tenancy}): {it['plan']}: {wrong}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, plans))


def choose(faults: dict[str, Any], rng: random.Random) -> dict[str, str]:
    """A fault for each application."""
    homes = {"shop": [], "feed": [], "batch": []}
    for name, fault in faults.items():
        homes[fault["home"]].append(name)
    for app, own in homes.items():
        own += [name for name in (*ANYWHERE, *OVER_HTTP) if name not in own]
    return {app: rng.choice(sorted(names)) for app, names in homes.items()}


def one_round(
    program: Path, python: str, tenancy: str, plan: dict[str, str], faults: dict[str, Any]
) -> dict[str, Any]:
    environment = marked(clean_environment() | {"NO_COLOR": "1"}, "mixed")
    command = [str(program), "drill", "--serve", "--serve-tenancy", tenancy, "--python", python, "--for", "5m"]
    with tempfile.NamedTemporaryFile() as said:
        host = subprocess.Popen(
            command, env=environment, stderr=said, stdout=subprocess.DEVNULL, start_new_session=True
        )
        return watched(program, environment, host, Path(said.name), tenancy, plan, faults)


def watched(
    program: Path,
    environment: dict[str, str],
    host: subprocess.Popen[bytes],
    said: Path,
    tenancy: str,
    plan: dict[str, str],
    faults: dict[str, Any],
) -> dict[str, Any]:
    try:
        state = state_of(host, said)
        with ThreadPoolExecutor(len(plan)) as pool:
            drills = list(pool.map(lambda it: drill(program, environment, state, *it), plan.items()))
        # Counted things are reported once a second.
        time.sleep(1.5)
        asked = subprocess.run([str(program), "events", "--json", "--state", state], capture_output=True, text=True, env=environment)
        events = [json.loads(line) for line in asked.stdout.splitlines()]
    finally:
        host.terminate()
        host.terminate()
        try:
            host.wait(15)
        except subprocess.TimeoutExpired:
            host.kill()
            host.wait()
    incidents = {event["incident"]["id"]: event["incident"] for event in events}
    false = [brief(it) for it in incidents.values() if not is_true(it, tenancy, plan, faults)]
    return {"plan": plan, "drills": drills, "incidents": [brief(it) for it in incidents.values()], "false": false}


def state_of(host: subprocess.Popen[bytes], said: Path) -> str:
    """Its state directory, once all its applications are ready."""
    deadline, text = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < deadline and host.poll() is None:
        text = said.read_text(errors="replace")
        found = READY.search(text)
        if found and all(f"serpentry: {app}: ready" in text for app in ("shop", "feed", "batch", "neighbour")):
            return found[1]
        time.sleep(0.02)
    raise HostError(f"the test applications did not become ready: {text[-2000:]}")


def drill(program: Path, environment: dict[str, str], state: str, app: str, fault: str) -> dict[str, Any]:
    command = [str(program), "drill", app, fault, "--json", "--state", state]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180)
    try:
        it = json.loads(done.stdout)
    except ValueError:
        return {"app": app, "fault": fault, "outcome": "not done", "why": done.stderr.strip()[-500:]}
    kept = ("app", "fault", "code", "outcome", "seconds_to_incident", "why")
    return {key: it[key] for key in kept}


def is_true(incident: dict[str, Any], tenancy: str, plan: dict[str, str], faults: dict[str, Any]) -> bool:
    app, code = incident["app"], incident["code"]
    if follows(incident, tenancy, plan):
        return True
    if app not in plan or code in ("C11", "M11"):
        return False
    fault = faults[plan[app]]
    allowed = {fault["code"], *fault["also"]} | (BATCH if app == "batch" else set())
    return code in allowed


def follows(incident: dict[str, Any], tenancy: str, plan: dict[str, str]) -> bool:
    """Whether it is true although it is not what the application's own fault must become."""
    app, code, evidence = incident["app"], incident["code"], incident["evidence"]
    busy = {name for name, fault in plan.items() if fault in COMPUTING}
    if "starved" in plan.values():
        busy.add("neighbour")
    if code == "C11":
        # Time on processors is shared: it must name one that computed.
        return any(name in evidence.get("neighbour", "") for name in busy)
    if code == "C20":
        return app in busy
    if POOL in plan.values() and code in ("M10", "M11"):
        # The kernel chooses among all; the neighbour is who fills the pool.
        return "neighbour" in (app, evidence.get("culprit"))
    if code == "C10":
        # Three isolated applications do not find three cores: each has a part of one, and whatever it does meets that limit.
        return tenancy == "isolated" and app in plan and evidence["limit_cores"] == 0.3
    if code == "C21":
        # In an event loop other faults block too; it must name the line that did.
        return app == "feed" and "serpentry_drill.py" in evidence.get("place", "")
    return code == "N20" and ("starved" in plan.values() or plan.get(app) in ENDING)


def brief(incident: dict[str, Any]) -> dict[str, Any]:
    return {key: incident[key] for key in ("id", "app", "code", "cause", "sentence", "evidence")}
