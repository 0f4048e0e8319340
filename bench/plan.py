#!/usr/bin/env python3
"""Does `serpentry plan` say what is then measured? Writes docs/plan-measured.md.

For WSGI and ASGI each: an application is hosted once with little traffic, and `plan --save-profile` keeps what its requests need. Then each
of six configurations is hosted, loaded open loop by `serpentry load` at a rate of its own, and what `plan --profile` predicted
for it is compared with what was measured. Predictions are made before the measurement and from nothing but the profile.

    python3 bench/plan.py [--seconds 20] [--program target/release/serpentry]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from environment import machine
from hosted import Host

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "bench" / "apps"
# How often each route is asked for.
MIX = {"/page": 6, "/search": 3, "/report": 1}
# Bounds of a prediction that is believed (lab::plan::trust).
BOUNDS = {"p50": 0.15, "p95": 0.25, "throughput": 0.05}

# Interface, concurrency, workers, threads, requests per second.
CONFIGURATIONS = [
    ("wsgi", "sync", 3, 1, 60),
    ("wsgi", "sync", 8, 1, 120),
    ("wsgi", "threads", 1, 8, 120),
    ("wsgi", "threads", 2, 8, 240),
    ("asgi", "async", 1, 1, 160),
    ("asgi", "async", 2, 1, 320),
]


def host(program: Path, directory: Path, interface: str, concurrency: str, workers: int, threads: int) -> Host:
    lines = [
        "[apps.shop]",
        f'app = "plan:{interface}"',
        f"directory = {json.dumps(str(APPS))}",
        f"concurrency = {json.dumps(concurrency)}",
        f"workers = {workers}",
        'routes = ["*"]',
    ]
    if concurrency == "threads":
        lines.append(f"threads = {threads}")
    return Host(program, directory, lines)


def load(hosted: Host, rate: float, seconds: float, seed: int) -> dict:
    return hosted.load([path for path, times in MIX.items() for _ in range(times)], rate, seconds, seed)


def plan(program: Path, *arguments: object) -> dict:
    command = [program, "plan", *map(str, arguments), "--json"]
    found = subprocess.run(command, capture_output=True, text=True)
    if not found.stdout:
        sys.exit(f"plan failed: {found.stderr}")
    return json.loads(found.stdout)


def profiles(program: Path, directory: Path, seconds: float) -> dict[str, Path]:
    """What requests need, measured at little traffic."""
    found = {}
    for interface, concurrency in [("wsgi", "sync"), ("asgi", "async")]:
        place = directory / f"profile-{interface}"
        place.mkdir()
        with host(program, place, interface, concurrency, 2, 1) as hosted:
            load(hosted, 20, seconds, 1)
            found[interface] = place / "profile.json"
            plan(program, "shop", "--rps", 20, "--state", place / "state", "--save-profile", found[interface], "--observe", "100ms")
    return found


def compare(program: Path, directory: Path, profile: Path, configuration: tuple, seconds: float) -> dict:
    interface, concurrency, workers, threads, rate = configuration
    asked = ["--profile", profile, "--rps", rate, "--concurrency", concurrency, "--workers", workers, "--threads", threads]
    answer = plan(program, *asked)
    shared = next(proposal for proposal in answer["proposals"] if proposal["tenancy"] == "shared")
    predicted = {name: shared["prediction"][name]["value"] for name in ("p50", "p95", "throughput")}
    place = directory / f"{concurrency}-{workers}-{threads}"
    place.mkdir()
    with host(program, place, interface, concurrency, workers, threads) as hosted:
        figures = load(hosted, rate, seconds, 7)
    measured = {
        "p50": figures["latency_ms"]["p50"] / 1e3,
        "p95": figures["latency_ms"]["p95"] / 1e3,
        "throughput": figures["goodput"],
    }
    apart = {name: predicted[name] / measured[name] - 1 for name in predicted}
    trusted = all(abs(apart[name]) <= bound for name, bound in BOUNDS.items())
    result = {"configuration": configuration, "predicted": predicted, "measured": measured, "apart": apart}
    return {**result, "trusted": trusted, "slots": shared["prediction"]["slots"], "cores": shared["prediction"]["cores"]}


def row(result: dict) -> str:
    _, concurrency, workers, threads, rate = result["configuration"]
    name = f"{concurrency}, {workers} x {threads}" if concurrency == "threads" else f"{concurrency}, {workers}"
    predicted, measured, apart = result["predicted"], result["measured"], result["apart"]
    cells = [name, f"{rate}", f"{result['cores']:.2f}"]
    for key in ("p50", "p95"):
        cells.append(f"{predicted[key] * 1e3:.1f} / {measured[key] * 1e3:.1f} ms ({apart[key] * 100:+.0f} %)")
    cells.append(f"{predicted['throughput']:.1f} / {measured['throughput']:.1f} ({apart['throughput'] * 100:+.1f} %)")
    cells.append("yes" if result["trusted"] else "**no**")
    return "| " + " | ".join(cells) + " |"


def write(results: list[dict], seconds: float) -> None:
    trusted = sum(result["trusted"] for result in results)
    where = machine()
    lines = [
        "# Planned and measured",
        "",
        "Made by `python3 bench/plan.py`. What the requests of `bench/apps/plan.py` need was measured once, at 20 requests/s; from that",
        "alone `serpentry plan` predicted six configurations, which were then hosted and loaded (open loop, Poisson, latency from",
        f"the planned time, {seconds:.0f} s each). Each cell: predicted / measured (apart). Believed: p50 within 15 %, p95 within 25 %,",
        "throughput within 5 %.",
        "",
        f"Machine: {where['processor']}, {where['cores']} cores, {where['kernel']}, {where['date']}.",
        f"Load of the machine meanwhile: {os.getloadavg()[1]:.1f} (mean of 5 minutes; this bench alone makes about 1).",
        "",
        "| configuration | requests/s | cores used | p50 | p95 | throughput | within bounds |",
        "|---|---|---|---|---|---|---|",
        *map(row, results),
        "",
        f"{trusted} of {len(results)} within bounds.",
        "",
    ]
    (ROOT / "docs" / "plan-measured.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "serpentry")
    arguments = parser.parse_args()
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory(prefix="serpentry-plan-") as name:
        directory = Path(name)
        found = profiles(program, directory, max(arguments.seconds, 20))
        results = []
        for configuration in CONFIGURATIONS:
            result = compare(program, directory, found[configuration[0]], configuration, arguments.seconds)
            print(row(result), flush=True)
            results.append(result)
    write(results, arguments.seconds)


if __name__ == "__main__":
    main()
