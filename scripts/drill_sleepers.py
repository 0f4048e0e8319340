#!/usr/bin/env python3
"""The drill of many sleepers: 1,000 applications with `min = 0` in one file, and what they cost.

Measured: time until the host is ready, its resident (RSS) and proportional (PSS) memory, its idle CPU time; then for
100 of them, one after another, the time from the first request to the first answer; its memory while they are awake;
and that they go back to zero processes. Budget for the host's memory with all asleep: 100 MB must, 20 MB aim.

    python3 scripts/drill_sleepers.py            a table
    python3 scripts/drill_sleepers.py --json     the figures

Exit status 0 if every answer was right, all went back to sleep, and the host stayed within the budget.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import toml_text
from hosting import Host, HostError, kill_marked, memory_kib

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target/drill/sleepers"
MUST_MB, AIM_MB = 100, 20
IDLE = "5s"
APPLICATION = '''"""One of many: the smallest WSGI application."""
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["NAME"].encode()]
'''


def main() -> int:
    """Run the drill; returns the exit status."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = None
    try:
        file, state = write_files(arguments.apps)
        started = time.monotonic()
        host = Host(arguments.serpentry, file, state, environment={"PYTHONDONTWRITEBYTECODE": "1"})
        host.wait_until_ready(120)
        figures = {"apps": arguments.apps, "ready_seconds": round(time.monotonic() - started, 3)}
        figures |= measure(host, arguments)
        figures["stop_seconds"] = round(host.stop(60), 3)
        return report(figures, arguments.json)
    except HostError as error:
        print(f"drill_sleepers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("drill_sleepers: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if host is not None:
            host.kill()
        kill_marked()


def write_files(count: int) -> tuple[Path, Path]:
    """The application and the file that has it `count` times."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    code = FOLDER / "app"
    code.mkdir(parents=True)
    (code / "sleeper.py").write_text(APPLICATION)
    apps = {
        f"app-{number:04}": {
            "app": "sleeper:app",
            "directory": str(code),
            "python": sys.executable,
            "routes": [f"/app-{number:04}"],
            "workers": {"min": 0, "max": 2, "idle": IDLE},
            "env": {"NAME": f"app-{number:04}"},
        }
        for number in range(count)
    }
    file = FOLDER / "serpentry.toml"
    host = {"listen": ["127.0.0.1:0"], "state": str(FOLDER / "state")}
    file.write_text(toml_text.document(host, apps))
    return file, FOLDER / "state"


def measure(host: Host, arguments: argparse.Namespace) -> dict[str, float | int]:
    """Memory, idle CPU time, first answers, back to sleep."""
    asleep = sum(app["state"] == "asleep" for app in host.status()["apps"])
    if asleep != arguments.apps or host.processes():
        raise host.error(f"{asleep} of {arguments.apps} are asleep; processes: {sorted(host.processes())}")
    before, began = cpu_seconds(host.pid), time.monotonic()
    time.sleep(arguments.idle_seconds)
    idle = (cpu_seconds(host.pid) - before) / (time.monotonic() - began)
    figures: dict[str, float | int] = {
        "rss_mb": megabytes(host.pid, "VmRSS"),
        "pss_mb": megabytes(host.pid, "Pss"),
        "idle_cpu_percent": round(idle * 100, 3),
    }
    address = host.address
    assert isinstance(address, tuple)
    chosen = range(0, arguments.apps, max(1, arguments.apps // arguments.wake))
    milliseconds = sorted(first_answer(address, f"app-{number:04}") for number in list(chosen)[: arguments.wake])
    figures |= {
        "woken": len(milliseconds),
        "first_answer_p50_ms": round(milliseconds[len(milliseconds) // 2], 1),
        "first_answer_p95_ms": round(milliseconds[int(len(milliseconds) * 0.95)], 1),
        "first_answer_max_ms": round(milliseconds[-1], 1),
        "rss_mb_after": megabytes(host.pid, "VmRSS"),
    }
    began = time.monotonic()
    host.wait(lambda: not host.processes(), "all applications are back to zero processes", 90, every=0.25)
    figures["back_to_zero_seconds"] = round(time.monotonic() - began, 1)
    return figures


def first_answer(address: tuple[str, int], name: str) -> float:
    """Milliseconds from a request to the right answer of an application that sleeps; HostError if it is not right."""
    connection = http.client.HTTPConnection(*address, timeout=90)
    started = time.monotonic()
    connection.request("GET", f"/{name}/")
    response = connection.getresponse()
    body = response.read()
    took = (time.monotonic() - started) * 1000
    connection.close()
    if response.status != 200 or body != name.encode():
        raise HostError(f"{name} answered {response.status}: {body[:200]!r}")
    return took


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int, name: str) -> float:
    """Memory in MB (10^6 bytes); -1 where /proc does not say."""
    size = memory_kib(pid, name)
    return -1.0 if size is None else round(size * 1024 / 1e6, 1)


def report(figures: dict[str, float | int], as_json: bool) -> int:
    """Print the figures; the exit status says whether the budget holds."""
    memory = figures["rss_mb"]
    within = memory <= MUST_MB
    if as_json:
        print(json.dumps({**figures, "budget_mb": {"must": MUST_MB, "aim": AIM_MB}, "within_budget": within}, indent=2))
        return 0 if within else 1
    for name, value in figures.items():
        print(f"{name:24} {value}")
    aim = "and the aim" if memory <= AIM_MB else "not the aim"
    verdict = f"within the budget, {aim}" if within else "ABOVE THE BUDGET"
    print(f"memory: {memory} MB for {figures['apps']} sleepers; must {MUST_MB} MB, aim {AIM_MB} MB: {verdict}")
    return 0 if within else 1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What applications that sleep cost.")
    parser.add_argument("--apps", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--wake", type=int, default=100, help="how many are woken (default 100)")
    parser.add_argument("--idle-seconds", type=float, default=10.0, help="of measuring idle CPU time (default 10)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry", help="the program")
    arguments = parser.parse_args()
    if not 1 <= arguments.wake <= arguments.apps <= 10_000 or not os.access(arguments.serpentry, os.X_OK):
        parser.error(f"needs 1 to 10,000 applications, and a program at {arguments.serpentry} (`make build`)")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
