"""docs/faults-measured.md from figures: pure, no measuring and no files."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

PARTS = ("application", "worker", "limit", "requests", "growth", "answer")
WORDS = {
    "application": "application",
    "worker": "worker",
    "limit": "resource and limit",
    "requests": "requests",
    "growth": "growth",
    "answer": "visitor told why",
}


def text(figures: dict[str, Any]) -> str:
    """The page; a part without figures says how to get them."""
    lines = [
        "# How failures are explained, measured",
        "",
        "Written by `python3 bench/faults.py report`. Each fault is made to happen by `serpentry drill` in a test",
        "application, as real processes under real limits; the time is taken from outside, at the control interface.",
        "",
        f"Machine: {processor()}, {os.cpu_count()} cores, Linux {platform.release()}, {time.strftime('%Y-%m-%d', time.gmtime())}.",
    ]
    lines += ["", "## Every fault, in both tenancies", ""] + matrix(figures.get("matrix"))
    lines += ["", "## Mixed faults, several applications at once", ""] + mixed(figures.get("mixed"))
    lines += ["", "## One worker of four killed for want of memory, under load", ""] + oom(figures.get("oom"))
    lines += ["", "## An hour with nothing wrong", ""] + quiet(figures.get("quiet"))
    return "\n".join(lines) + "\n"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def matrix(found: Any) -> list[str]:
    if not found:
        return ["Not measured: `python3 bench/faults.py matrix`."]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for drill in found["drills"]:
        groups.setdefault((drill["fault"], drill["tenancy"]), []).append(drill)
    before, after = found["load"]
    lines = [
        f"{times(groups)} each, each time on a host that knows nothing of the others{at_once(found)}. Load average of the",
        f"machine: {before:.1f} when it began, {after:.1f} at the end.",
        "",
        "*Recorded* is from the fault to the incident at the control interface: median, and the longest. What the time is",
        "counted from stands beside it: for what takes a while to show (throttling, starvation, growth) that is the first",
        "request, and the time is mostly that of the fault itself. *Precision* counts what the incident says, one point each, of",
        "what there is to say about this fault: the application; the worker; the resource and its limit; requests that were",
        "affected; growth per request; and a visitor who was answered an error with the incident in machine-readable form.",
        "",
        "| fault | tenancy | incident | recorded | counted from | precision | not said |",
        "|---|---|---|---|---|---|---|",
    ]
    sentences = []
    false = 0
    for (fault, tenancy), drills in groups.items():
        lines.append(row(fault, tenancy, drills))
        false += sum(bool(it["false"]) for it in drills)
        told = next((it for it in drills if it["incident"]), None)
        if told and tenancy == "shared":
            sentences += [f"- **{fault}** ({told['about']}): {escape(told['incident']['sentence'])}."]
    if found.get("note"):
        lines[0:0] = [f"**{found['note']}**", ""]
    explained = sum(it["outcome"] in ("explained", "prevented") for it in found["drills"])
    lines += [
        "",
        f"{explained} of {len(found['drills'])} drills were explained (or prevented by the tenancy, as they should be); in {false}",
        "of them an incident was recorded beside that the fault does not account for" + beside(found["drills"]) + ".",
        "",
        "### What it says",
        "",
        "One sentence of each, as `serpentry why` prints it (shared; of the isolated ones only names and figures differ).",
        "",
        *sentences,
    ]
    return lines


def at_once(found: dict[str, Any]) -> str:
    count = found.get("at_once", 1)
    return "" if count == 1 else f" (up to {count} hosts at once, but for faults of processors)"


def times(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    counts = sorted({len(drills) for drills in groups.values()})
    return "Once" if counts == [1] else f"{counts[0]} times" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} times"


def beside(drills: list[dict[str, Any]]) -> str:
    counted = Counter(f"{no['code']} of {no['app'] or 'the host'} in {it['fault']}" for it in drills for no in it["false"])
    return "" if not counted else ": " + ", ".join(f"{what} ({count})" for what, count in counted.most_common())


def row(fault: str, tenancy: str, drills: list[dict[str, Any]]) -> str:
    told = [it for it in drills if it["outcome"] == "explained"]
    first = drills[0]
    if not told:
        kinds = Counter(it["outcome"] for it in drills)
        why = next((it["why"] for it in drills if it["why"]), "") or f"no incident {first['code']}"
        outcome = ", ".join(f"{kind} {count} of {len(drills)}" for kind, count in kinds.items())
        return f"| {fault} | {tenancy} | {outcome} | - | {first['counted_from']} | - | {escape(why)[:160]} |"
    seconds = [it["seconds_to_incident"] for it in told]
    points = [it["precision"]["points"] for it in told]
    of = told[0]["precision"]["of"]
    unsaid = Counter(WORDS[part] for it in told for part in PARTS if it["precision"][part] is False)
    missing = ", ".join(f"{what} ({count} of {len(told)})" for what, count in unsaid.items()) or "-"
    count = "" if len(told) == len(drills) else f", {len(told)} of {len(drills)}"
    span = f"{min(points)}" if min(points) == max(points) else f"{min(points)}-{max(points)}"
    recorded = f"{duration(statistics.median(seconds))} ({duration(max(seconds))})"
    return f"| {fault} | {tenancy} | {first['code']}{count} | {recorded} | {first['counted_from']} | {span} of {of} | {missing} |"


def mixed(found: Any) -> list[str]:
    if not found:
        return ["Not measured: `python3 bench/faults.py mixed`."]
    rounds = found["rounds"]
    drills = [drill for it in rounds for drill in it["drills"]]
    hosts = f", {found['at_once']} hosts at once" if found.get("at_once", 1) > 1 else ""
    outcomes = Counter(drill["outcome"] for drill in drills)
    incidents = sum(len(it["incidents"]) for it in rounds)
    false = [(it["plan"], no) for it in rounds for no in it["false"]]
    lines = [
        f"{len(rounds)} rounds, every second one with isolated applications; in each, three applications of one host were done",
        f"something to at the same time, chosen at random (seed {found['seed']}{hosts}): {len(drills)} faults, "
        + ", ".join(f"{count} {what}" for what, count in outcomes.most_common())
        + ".",
        f"Of {incidents} incidents, **{len(false)} named an application or a code that nothing was done to**.",
        "True is also what follows from a fault beside its own code, each with what the incident must name (`follows` in",
        "bench/faults_mixed.py): an event loop that the fault's own line blocks, a limit of 0.3 cores that isolated ones have there.",
    ]
    missing = Counter(drill["fault"] for drill in drills if drill["outcome"] == "missing")
    if missing:
        lines += ["", "Not recorded as what they were: " + ", ".join(f"{name} ({count})" for name, count in missing.most_common()) + "."]
    for plan, no in false[:20]:
        lines += ["", f"- {no['code']} of {no['app'] or 'the host'} while {plan}: {escape(no['sentence'])}"]
    return lines


def oom(found: Any) -> list[str]:
    if not found:
        return ["Not measured: `python3 bench/faults.py oom`."]
    lines = [
        f"Four workers with two threads each, {found['memory']} for all of them together; {found['clients']} clients ask one request after the",
        "other (50 ms each, GET and POST in equal parts) when one more request takes memory without end.",
    ]
    for tenancy, it in found["tenancies"].items():
        lines += ["", f"**{tenancy}**", "", "| request | answer | incident | how many |", "|---|---|---|---|"]
        for answer in it["answers"]:
            lines.append(f"| {answer['method']} | {answer['status']} | {answer['incident'] or '-'} | {answer['count']} |")
        lines += [
            "",
            f"{it['replayed']} run again on another worker; slowest answer {it['slowest_ms']:.0f} ms. The one that took the memory: "
            f"{it['killer']['body']}, `Serpentry-Incident: {it['killer']['incident']}`.",
            "",
            "```",
            "$ serpentry why shop",
            it["why"].rstrip(),
            "```",
        ]
    return lines


def quiet(found: Any) -> list[str]:
    if not found:
        return ["Not measured: `python3 bench/faults.py quiet`."]
    done = ", ".join(f"{count} {what}" for what, count in sorted(found["done"].items()))
    lines = [
        f"The three examples on one host for {found['minutes']:g} minutes of real time, with {found['pace']:g} times the load of that time: what comes in",
        f"{found['minutes'] * found['pace']:g} minutes otherwise. {found['idle_connections']} connections were idle beside it, and there were {done}. {len(found['wrong'])} answers were not",
        "what they should be.",
        *([f"**{found['note']}**"] if found.get("note") else []),
        "",
        "| application | requests a second | answered | statuses | failed | p50 | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, it in found["visitors"].items():
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(it["statuses"].items()))
        latency, failed = it["latency_ms"], sum(it["failed"].values())
        lines.append(
            f"| {name} | {it['rate']:g} | {it['answered']:,} | {statuses} | {failed} | {latency['p50']:.1f} ms | {latency['p99']:.1f} ms |"
        )
    told = [f"- `{it['code']}` {it['app']}: {escape(it['sentence'])}" for it in found["incidents"]]
    lines += ["", f"**Incidents: {len(told)}.**", *told]
    proof = found["proof"]
    lines += ["", f"Then a worker was killed: `{proof['code']}` after {duration(proof['seconds'])} (\"{escape(proof['sentence'])}\")."]
    return lines


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def escape(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
