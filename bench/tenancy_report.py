"""docs/tenancy-measured.md from figures: pure, no measuring and no files."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

PARTS = ("limits", "limits-v2", "noise", "start", "moves", "doctor", "doctor-user", "doctor-v2")


def text(parts: dict[str, Any]) -> str:
    """The page; a part without figures says how to get them."""
    lines = [
        "# Tenancy, measured",
        "",
        "Written by `python3 bench/tenancy.py report`. Machine: "
        f"{os.cpu_count()} cores, Linux {platform.release()}, {time.strftime('%Y-%m-%d', time.gmtime())}. Compare "
        "ratios, not absolute times: another machine has others. Values are medians, in parentheses smallest and "
        "largest.",
        "",
        "## Each limit, and what an application that tries to break it gets",
        "",
    ]
    lines += limits(parts.get("limits"), parts.get("limits-v2"))
    lines += ["", "## Latency beside noisy neighbours", ""] + noise(parts.get("noise"))
    lines += ["", "## Start of a worker, and its memory", ""] + start(parts.get("start"))
    lines += ["", "## Moves under load", ""] + moves(parts.get("moves"))
    return "\n".join(lines) + "\n"


def limits(native: Any, virtual: Any) -> list[str]:
    """One row for each case and model."""
    if not native:
        return ["Not measured: `python3 tests/tenancy/run.py --json target/bench/tenancy/limits.json`."]
    v2 = {(it["model"], it["case"]): it for it in (virtual or {}).get("results", [])}
    lines = ["| attack | model | here | virtual machine, cgroup v2 |", "|---|---|---|---|"]
    for it in native["results"]:
        other = v2.get((it["model"], it["case"]))
        lines.append(f"| {it['case']} | {it['model']} | {cell(it)} | {cell(other) if other else '-'} |")
    return lines


def cell(result: dict[str, Any]) -> str:
    """What was found, without what was said about the neighbour."""
    lines = [line for line in result["lines"] if not line.startswith("neighbour")]
    words = "; ".join(lines) or "held"
    words = words if result["verdict"] == "ok" or words.startswith("skipped") else f"**{result['verdict']}** {words}"
    return words.replace("|", "\\|").replace("\n", " ")[:200]


def noise(found: Any) -> list[str]:
    """Latency, and noisy over quiet."""
    if not found:
        return ["Not measured: `python3 bench/tenancy.py noise`."]
    lines = [
        f"Open loop, {found['rate']:.0f} requests/s at random (Poisson), some 4 ms of CPU each; blocks of "
        f"{found['seconds']:.0f} s, {found['repetitions']} of each kind, interleaved. Noise: four shared applications, each "
        "with 4 CPU burners, an fsync storm and a memory hog. Isolated: one pinned core. The generator has real-time priority and "
        "keeps off that core, as clients do.",
        "",
        "| | quiet ms | noisy ms | noisy over quiet |",
        "|---|---|---|---|",
    ]
    for model in ("isolated", "shared"):
        for key in ("p50", "p95", "p99"):
            quiet, noisy = (span(found["values"][f"{model} {which} {key}"]) for which in ("quiet", "noisy"))
            lines.append(f"| {model} {key} | {quiet} | {noisy} | {span(found['ratios'][f'{model} {key}'])} |")
    return lines + [f"- {problem}" for problem in found["problems"]]


def start(found: Any) -> list[str]:
    """Start times and memory."""
    if not found:
        return ["Not measured: `python3 bench/tenancy.py start`."]
    names = {
        "shared": "worker, shared: from a request without a worker to its answer",
        "isolated": "worker, isolated: the same",
        "crun": "`crun run` of /bin/true, with five namespaces, memory and pids limits",
        "true": "/bin/true alone",
    }
    lines = [f"{found['count']} of each, in turn.", "", "| | ms |", "|---|---|"]
    lines += [f"| {names[name]} | {span(values, 1000)} |" for name, values in found["seconds"].items()]
    lines.append(f"| isolation: isolated above shared, in pairs | {span(found['isolation'], 1000)} |")
    if found["container"]:
        lines.append(f"| container: crun above /bin/true, in pairs | {span(found['container'], 1000)} |")
    lines.append(f"| the very first isolated start, which makes the volume | {found['first']['isolated'] * 1000:.1f} |")
    shared, isolated = found["bytes"]["shared"], found["bytes"]["isolated"]
    lines += [
        "",
        f"Memory of one worker (proportional share): shared {span(shared, 2**-20)} MiB, isolated {span(isolated, 2**-20)} MiB.",
    ]
    return lines + [f"- {problem}" for problem in found["problems"]]


def moves(found: Any) -> list[str]:
    """Failed requests and durations."""
    if not found:
        return ["Not measured: `python3 scripts/drill_move.py --json target/bench/tenancy/moves.json`."]
    answered = sum(it["answered"] for it in found["requests"].values())
    lines = [f"{found['moves']} moves, {answered} requests meanwhile, {found['failed']} failed.", ""]
    lines += ["| | shortest ms | median | p95 | longest |", "|---|---|---|---|---|"]
    for goal, seconds in found["seconds"].items():
        lines.append(f"| to {goal} | " + " | ".join(f"{it * 1000:.0f}" for it in seconds) + " |")
    return lines


def span(values: list[float], scale: float = 1.0) -> str:
    """Median (smallest to largest)."""
    middle, least, most = (value * scale for value in values)
    return f"{middle:.2f} ({least:.2f} to {most:.2f})"
