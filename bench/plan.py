#!/usr/bin/env python3
"""Does `serpentry plan` say what is then measured? Writes docs/plan-measured.md.

For WSGI and ASGI each: an application is hosted once with little traffic, and `plan --save-profile` keeps what its requests need. From
nothing but that, `plan --profile` predicts six configurations. Then, in each of several rounds, each of them is hosted and loaded
open loop by `serpentry load` at a rate of its own; the prediction is compared with the median of the rounds. A run for which
the generator itself was late says more about the machine than about the configuration: it is repeated.

    python3 bench/plan.py [--rounds 3] [--seconds 20] [--program target/release/serpentry]
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
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
PROFILE_RATE = 20
PROFILE_SECONDS = 60
# Of a run for which the generator was late.
TRIES = 2

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


def profiles(program: Path, directory: Path) -> dict[str, Path]:
    """What requests need, measured at little traffic."""
    found = {}
    for interface, concurrency in [("wsgi", "sync"), ("asgi", "async")]:
        place = directory / f"profile-{interface}"
        place.mkdir()
        with host(program, place, interface, concurrency, 2, 1) as hosted:
            load(hosted, PROFILE_RATE, PROFILE_SECONDS, 1)
            found[interface] = place / "profile.json"
            plan(program, "shop", "--rps", PROFILE_RATE, "--state", place / "state", "--save-profile", found[interface], "--observe", "100ms")
    return found


def predict(program: Path, profile: Path, configuration: tuple) -> dict:
    """The figures of BOUNDS (seconds, requests per second) and the cores that are used."""
    _, concurrency, workers, threads, rate = configuration
    asked = ["--profile", profile, "--rps", rate, "--concurrency", concurrency, "--workers", workers, "--threads", threads]
    answer = plan(program, *asked)
    shared = next(proposal for proposal in answer["proposals"] if proposal["tenancy"] == "shared")
    predicted = {name: shared["prediction"][name]["value"] for name in BOUNDS}
    return predicted | {"cores": shared["prediction"]["cores"]}


def measure(program: Path, place: Path, configuration: tuple, seconds: float, seed: int) -> dict:
    """The same figures of a real run, and whether the generator kept its plan."""
    interface, concurrency, workers, threads, rate = configuration
    for attempt in range(TRIES):
        directory = place / str(attempt)
        directory.mkdir(parents=True)
        with host(program, directory, interface, concurrency, workers, threads) as hosted:
            figures = load(hosted, rate, seconds, seed + 100 * attempt)
        if figures["validity"] == "valid":
            break
    latency = figures["latency_ms"]
    measured = {"p50": latency["p50"] / 1e3, "p95": latency["p95"] / 1e3, "throughput": figures["goodput"]}
    return measured | {"valid": figures["validity"] == "valid", "again": attempt}


def judge(configuration: tuple, predicted: dict, runs: list[dict]) -> dict:
    measured = {name: [run[name] for run in runs] for name in BOUNDS}
    apart = {name: predicted[name] / statistics.median(measured[name]) - 1 for name in BOUNDS}
    trusted = all(abs(apart[name]) <= bound for name, bound in BOUNDS.items())
    late = sum(not run["valid"] for run in runs)
    return {
        "configuration": configuration,
        "predicted": predicted,
        "measured": measured,
        "apart": apart,
        "trusted": trusted,
        "late": late,
        "again": sum(run["again"] for run in runs),
    }


def row(result: dict) -> str:
    _, concurrency, workers, threads, rate = result["configuration"]
    name = f"{concurrency}, {workers} x {threads}" if concurrency == "threads" else f"{concurrency}, {workers}"
    predicted, apart = result["predicted"], result["apart"]
    cells = [name, f"{rate}", f"{predicted['cores']:.2f}"]
    for key, scale, digits in (("p50", 1e3, 1), ("p95", 1e3, 1), ("throughput", 1, 1)):
        runs = [value * scale for value in result["measured"][key]]
        span = f"{statistics.median(runs):.{digits}f} ({min(runs):.{digits}f} to {max(runs):.{digits}f})"
        cells.append(f"{predicted[key] * scale:.{digits}f} / {span}: {apart[key] * 100:+.0f} %")
    cells.append(f"{result['again']}, {result['late']}")
    cells.append("yes" if result["trusted"] else "**no**")
    return "| " + " | ".join(cells) + " |"


def write(results: list[dict], rounds: int, seconds: float) -> None:
    trusted = sum(result["trusted"] for result in results)
    where = machine()
    lines = [
        "# Planned and measured",
        "",
        "Made by `python3 bench/plan.py`. What the requests of `bench/apps/plan.py` need was measured once for WSGI and once for ASGI, at",
        f"{PROFILE_RATE} requests/s for {PROFILE_SECONDS} s; from that alone `serpentry plan` predicted six configurations, which were then hosted and",
        f"loaded (open loop, Poisson, latency from the planned time, {seconds:.0f} s each) in {rounds} rounds. Each cell: predicted / median of the rounds",
        "(least to most): how far the prediction is from the median. Believed: p50 within 15 %, p95 within 25 %, throughput within 5 %",
        "(Poisson arrivals of 20 s are themselves some per cent more or fewer than the rate). A run for which the generator was late (p99 more than 1 ms, or 5 % of the",
        "median) was repeated once; last but one column: how often that was, and how many runs were late even then.",
        "",
        f"Machine: {where['processor']}, {where['cores']} cores, {where['kernel']}, {where['date']}.",
        "",
        "| configuration | requests/s | cores used | p50 ms | p95 ms | throughput | repeated, late | within bounds |",
        "|---|---|---|---|---|---|---|---|",
        *map(row, results),
        "",
        f"{trusted} of {len(results)} within bounds.",
        "",
    ]
    (ROOT / "docs" / "plan-measured.md").write_text("\n".join(lines))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "serpentry")
    arguments = parser.parse_args()
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory(prefix="serpentry-plan-") as name:
        directory = Path(name)
        found = profiles(program, directory)
        predicted = [predict(program, found[configuration[0]], configuration) for configuration in CONFIGURATIONS]
        runs: list[list[dict]] = [[] for _ in CONFIGURATIONS]
        for number in range(arguments.rounds):
            for index, configuration in enumerate(CONFIGURATIONS):
                place = directory / f"{number}-{index}"
                runs[index].append(measure(program, place, configuration, arguments.seconds, 7 + number))
        results = [judge(*each) for each in zip(CONFIGURATIONS, predicted, runs)]
        print(*map(row, results), sep="\n")
    write(results, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
