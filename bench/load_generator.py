"""Is the load generator honest, and what does it cost? `python3 bench/load_generator.py`

Three questions, each against the smallest server there is (bench/ceiling/constant.c), on 127.0.0.1:

  stall   the server is stopped (SIGSTOP) for 1.4 s in a run of 30 s, at 2,000 requests per second over 32 connections: what
          p99 is reported, from the planned time and from sending; by a closed loop; by wrk, which guesses afterwards
          what it did not send (`stats_correct` in its source); and by oha, closed, at that rate, and at that rate with its
          `--latency-correction`?
  rates   500, 5,000 and 50,000 requests per second: how late is the generator, and what does a request cost it? With
          ordinary and, where it is allowed, with real-time priority.
  most    a closed loop of 32 connections and of wrk and oha with the same, in turns: requests per second, and processor time
          per request; then the highest rate of an open loop that the generator itself calls valid.

Needs a release build (`make build`), a C compiler and wrk (`apt-get install wrk`); oha if it is there (`cargo install --locked oha`, with
`--root target/tools` here). Prints Markdown; `--json FILE` keeps every figure. The exit status is 0 when everything ran, whatever the figures say.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import environment

STALL = 1.4
RATES = (500, 5_000, 50_000)
LADDER = (20_000, 40_000, 60_000, 80_000, 100_000, 120_000, 150_000)
CONNECTIONS = 32


class Server:
    """The constant server on a free port; only this process is ever signalled."""

    def __enter__(self) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen([str(environment.CEILING), str(self.port)])
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if time.monotonic() > deadline:
                    self.process.kill()
                    raise
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        # A stopped process does not die of SIGTERM.
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def stall(self, after: float, seconds: float) -> threading.Thread:
        def freeze() -> None:
            time.sleep(after)
            self.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                self.process.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=freeze)
        thread.start()
        return thread


def run(command: list[str]) -> tuple[int, str, float]:
    """Exit status, standard output, and processor time of the whole process in seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, output, usage.ru_utime + usage.ru_stime


def load(url: str, *arguments: str) -> dict:
    status, output, cpu = run([str(environment.SERPENTRY), "load", "--json", url, *arguments])
    if not output:
        raise SystemExit(f"serpentry load {' '.join(arguments)} printed nothing, exit status {status}")
    return json.loads(output) | {"cpu_seconds": cpu}


def wrk(url: str, seconds: int) -> dict:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    status, output, cpu = run(command)
    requests = re.search(r"(\d+) requests in", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if status != 0 or not requests or not p99:
        raise SystemExit(f"wrk failed ({status}):\n{output}")
    count = int(requests[1])
    milliseconds = float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]
    return {"requests": count, "rate": count / seconds, "p99_ms": milliseconds, "cpu_us": cpu * 1e6 / count}


def find_oha() -> str | None:
    here = environment.ROOT / "target" / "tools" / "bin" / "oha"
    return str(here) if here.exists() else shutil.which("oha")


def oha(url: str, seconds: int, *arguments: str) -> dict:
    command = [find_oha() or "oha", "--no-tui", "--output-format", "json", "-c", str(CONNECTIONS), "-z", f"{seconds}s"]
    status, output, cpu = run([*command, *arguments, url])
    if status != 0:
        raise SystemExit(f"oha failed ({status}):\n{output}")
    figures = json.loads(output)
    count = sum(figures["statusCodeDistribution"].values())
    return {
        "requests": count,
        "rate": count / seconds,
        "p99_ms": figures["latencyPercentiles"]["p99"] * 1e3,
        "cpu_us": cpu * 1e6 / count,
    }


OHA_STALL = {
    "oha": [],
    "oha at the rate": ["-q", "2000"],
    "oha at the rate, corrected": ["-q", "2000", "--latency-correction"],
}


def note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text} (load average {os.getloadavg()[0]:.1f})", file=sys.stderr)


def stall(seconds: int, realtime: list[str]) -> dict:
    found = {}
    arguments = ["--rate", "2000", "--schedule", "constant", "--pool", str(CONNECTIONS), *realtime]
    closed = ["--connections", str(CONNECTIONS)]
    for name, pause in (("quiet", 0.0), ("stall", STALL)):
        for tool in ("serpentry load", "closed loop", "wrk", *(OHA_STALL if find_oha() else ())):
            note(f"{name}: {tool}")
            with Server() as server:
                freezing = server.stall(seconds / 3, pause) if pause else None
                if tool == "wrk":
                    found[name, tool] = wrk(server.url, seconds)["p99_ms"]
                elif tool in OHA_STALL:
                    found[name, tool] = oha(server.url, seconds, *OHA_STALL[tool])["p99_ms"]
                elif tool == "closed loop":
                    found[name, tool] = load(server.url, *closed, "--duration", f"{seconds}s")["service_ms"]["p99"]
                else:
                    figures = load(server.url, *arguments, "--duration", f"{seconds}s")
                    found[name, "from its time"] = figures["latency_ms"]["p99"]
                    found[name, "from sending"] = figures["service_ms"]["p99"]
                    found[name, "validity"] = figures["validity"]
                if freezing:
                    freezing.join()
    return {" / ".join(key): value for key, value in found.items()}


def rates(rounds: int, seconds: int, allowed: bool) -> list[dict]:
    found = []
    with Server() as server:
        for round_ in range(rounds):
            for rate in RATES:
                for realtime in (False, True) if allowed else (False,):
                    note(f"round {round_ + 1}: {rate} requests/s{', real-time' if realtime else ''}")
                    arguments = ["--rate", str(rate), "--duration", f"{seconds}s", "--seed", str(round_ + 1)]
                    figures = load(server.url, *arguments, *(["--realtime"] if realtime else []))
                    own = figures["generator"]
                    found.append({"rate": rate, "realtime": realtime, "validity": figures["validity"]} | own)
    return found


def most(rounds: int, seconds: int) -> dict:
    tools = ["serpentry load", "wrk", *(["oha"] if find_oha() else [])]
    found: dict[str, list] = {tool: [] for tool in tools}
    with Server() as server:
        for round_ in range(rounds):
            for tool in tools[round_ % len(tools) :] + tools[: round_ % len(tools)]:
                note(f"round {round_ + 1}: {tool}, {CONNECTIONS} connections")
                if tool == "wrk":
                    found[tool].append(wrk(server.url, seconds))
                elif tool == "oha":
                    found[tool].append(oha(server.url, seconds))
                else:
                    figures = load(server.url, "--connections", str(CONNECTIONS), "--duration", f"{seconds}s")
                    cpu = figures["cpu_seconds"] * 1e6 / figures["answered"]
                    own = {"rate": figures["goodput"], "p99_ms": figures["latency_ms"]["p99"], "cpu_us": cpu}
                    found[tool].append(own)
    return found


def ladder(seconds: int, realtime: list[str]) -> list[dict]:
    found = []
    with Server() as server:
        for rate in LADDER:
            note(f"open loop, {rate} requests/s")
            figures = load(server.url, "--rate", str(rate), "--duration", f"{seconds}s", *realtime)
            own = figures["generator"]
            found.append({"rate": rate, "validity": figures["validity"], "goodput": figures["goodput"]} | own)
    return found


def spread(values: list[float], digits: int = 3) -> str:
    """Median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def show(results: dict) -> str:
    lines = [f"# The load generator\n\n{results['machine']['processor']}, {results['machine']['cores']} cores, "]
    lines[0] += f"{results['machine']['kernel']}; load average {results['load_before']} before, {results['load_after']} after.\n"
    stalled = results["stall"]
    lines += ["## A server that stands still for 1.4 s: p99 in milliseconds\n", "| | without | with the stall |", "|---|---|---|"]
    for column in ("from its time", "from sending", "closed loop", "wrk", *OHA_STALL):
        if f"stall / {column}" not in stalled:
            continue
        lines.append(f"| {column} | {stalled[f'quiet / {column}']:,.2f} | {stalled[f'stall / {column}']:,.2f} |")
    lines += ["\n## Open loop\n", "| requests/s | priority | late p99, ms | late at most, ms | CPU us/request | of a core | valid |"]
    lines.append("|---|---|---|---|---|---|---|")
    for rate in RATES:
        for realtime in (False, True):
            rows = [row for row in results["rates"] if (row["rate"], row["realtime"]) == (rate, realtime)]
            if rows:
                valid = sum(row["validity"] == "valid" for row in rows)
                lines.append(
                    f"| {rate:,} | {'real-time' if realtime else 'ordinary'} | {spread([row['lag_p99_ms'] for row in rows])} "
                    f"| {spread([row['lag_max_ms'] for row in rows])} | {spread([row['cpu_per_request_us'] for row in rows], 1)} "
                    f"| {spread([row['cpu_share'] for row in rows], 2)} | {valid} of {len(rows)} |"
                )
    lines += [f"\n## Closed loop, {CONNECTIONS} connections\n", "| | requests/s | CPU us/request (whole process) | p99, ms |", "|---|---|---|---|"]
    for name, rows in results["most"].items():
        columns = [spread([row[key] for row in rows], digits) for key, digits in (("rate", 0), ("cpu_us", 2), ("p99_ms", 3))]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    for other in [name for name in results["most"] if name != "serpentry load"]:
        pairs = list(zip(results["most"]["serpentry load"], results["most"][other]))
        for key, what in (("rate", "requests/s"), ("cpu_us", "CPU per request")):
            lines.append(f"\nserpentry load / {other}, {what}: {spread([a[key] / b[key] for a, b in pairs], 2)}")
    lines += ["\n## Highest open-loop rate\n", "| requests/s | answered/s | late p99, ms | of a core | |", "|---|---|---|---|---|"]
    for row in results["ladder"]:
        lines.append(
            f"| {row['rate']:,} | {row['goodput']:,.0f} | {row['lag_p99_ms']:.3f} | {row['cpu_share']:.2f} | {row['validity']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/load_generator.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run but the stall's (5)")
    parser.add_argument("--stall-seconds", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    missing = environment.missing_tools()
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 2
    if not find_oha():
        print("left out: oha is not installed (cargo install --locked oha --root target/tools)", file=sys.stderr)
    environment.STATE.mkdir(parents=True, exist_ok=True)
    source = environment.BENCH / "ceiling" / "constant.c"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(environment.CEILING), str(source)], check=True)
    before = f"{os.getloadavg()[0]:.1f}"
    with Server() as server:
        allowed = load(server.url, "-n", "1", "--rate", "10", "--realtime")["generator"]["realtime"]
    realtime = ["--realtime"] if allowed else []
    if not allowed:
        print("skipped: real-time priority is not allowed here", file=sys.stderr)
    results = {
        "machine": environment.machine(),
        "load_before": before,
        "stall": stall(options.stall_seconds, realtime),
        "rates": rates(options.rounds, options.seconds, allowed),
        "most": most(options.rounds, options.seconds),
        "ladder": ladder(options.seconds, realtime),
    }
    results["load_after"] = f"{os.getloadavg()[0]:.1f}"
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(show(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
