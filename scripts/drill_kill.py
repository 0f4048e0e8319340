#!/usr/bin/env python3
"""The drill of the killed host: `kill -9` of the host itself, and a new start at once, again and again.

Each round: a host of five applications serves; a second host on its state directory is refused; the host is killed with
SIGKILL; its workers must be gone within one second (measured); a host is started with the same file, port and state
directory at once, and must become ready and serve: no socket, lock or process of the dead one stands in the way.

    python3 scripts/drill_kill.py [--rounds 20]

Exit status 0 if every round went so. Leaves nothing behind, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import toml_text
from hosting import Host, HostError, is_running, kill_marked

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target/drill/kill"
APPS = ROOT / "tests/host/apps"
GONE_SECONDS = 1.0
NAMES = ("sync", "threads", "async", "pair", "sleeper")


def main() -> int:
    """Run the drill; returns the exit status."""
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = None
    gone: list[float] = []
    ready: list[float] = []
    try:
        file, state, port = write_file()
        host = start(arguments.serpentry, file, state)
        for number in range(1, arguments.rounds + 1):
            use(host, port)
            if number in (1, arguments.rounds):
                refuse_second(host)
            gone.append(kill(host))
            old = host
            started = time.monotonic()
            host = start(arguments.serpentry, file, state)
            ready.append(time.monotonic() - started)
            if left := old.processes():
                raise host.error(f"processes of the dead host still run beside the new one: {sorted(left)}")
            print(f"round {number:2}: workers gone after {gone[-1] * 1000:.0f} ms, ready again after {ready[-1]:.2f} s")
        use(host, port)
        print(f"SIGTERM: exit status 0 after {host.stop():.2f} s, no process left")
        left_files = sorted(path.name for path in state.iterdir())
        print(f"left in the state directory: {', '.join(left_files)}")
    except (HostError, OSError) as error:
        print(f"drill_kill: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("drill_kill: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if host is not None:
            host.kill()
        kill_marked()
    print(
        f"drill_kill: all good: {len(gone)} times killed and started again; workers gone after "
        f"{sorted(gone)[len(gone) // 2] * 1000:.0f} ms (median), {max(gone) * 1000:.0f} ms (longest)"
    )
    return 0


def write_file() -> tuple[Path, Path, int]:
    """Five applications of different kinds, on a port that is free now and the same in every round."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kinds: dict[str, dict[str, Any]] = {
        "sync": {},
        "threads": {"concurrency": "threads", "threads": 4},
        "async": {"app": "plain:asgi"},
        "pair": {"workers": 2},
        "sleeper": {"workers": {"min": 0, "max": 1, "idle": "1m"}},
    }
    common = {"app": "plain:app", "directory": str(APPS), "python": sys.executable}
    apps = {
        name: {**common, "routes": [f"/{name}"], "env": {"NAME": name}, **kinds[name]} for name in NAMES
    }
    file, state = FOLDER / "serpentry.toml", FOLDER / "state"
    host = {"listen": [f"127.0.0.1:{port}", f"unix:{FOLDER}/http.sock"], "state": str(state)}
    file.write_text(toml_text.document(host, apps))
    return file, state, port


def start(program: Path, file: Path, state: Path) -> Host:
    """Start a host and wait until it is ready."""
    return Host(program, file, state, environment={"PYTHONDONTWRITEBYTECODE": "1"}).wait_until_ready(60)


def use(host: Host, port: int) -> None:
    """Every application answers, also the one that slept; the Unix socket is open too."""
    for name in NAMES:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/{name}/page")
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status != 200 or json.loads(body)["app"] != name:
            raise host.error(f"{name} answered {response.status}: {body[:300]!r}")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(str(FOLDER / "http.sock"))


def refuse_second(host: Host) -> None:
    """A second host on the same state directory is refused, and says who is there; the first goes on."""
    # On another port, so that the state directory is the only thing in its way.
    other = FOLDER / "second.toml"
    text = host.file.read_text()
    listen = next(line for line in text.splitlines() if line.startswith("listen"))
    other.write_text(text.replace(listen, 'listen = ["127.0.0.1:0"]'))
    done = subprocess.run(
        [str(host.program), "host", str(other)],
        env=host.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0 or str(host.pid) not in done.stderr:
        raise host.error(f"a second host was not refused with our pid: {done.returncode}: {done.stderr}")
    print(f"a second host is refused, exit status {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    host.status()


def kill(host: Host) -> float:
    """SIGKILL to the host; seconds until none of its processes is left, HostError above the limit."""
    workers = host.processes()
    if len(workers) < len(NAMES):
        raise host.error(f"only {sorted(workers)} run, instead of at least {len(NAMES)} workers")
    started = time.monotonic()
    host.child.kill()
    host.child.wait()
    while any(is_running(pid) for pid in workers):
        if time.monotonic() - started > 30:
            break
        time.sleep(0.002)
    took = time.monotonic() - started
    left = host.processes()
    if left or took > GONE_SECONDS:
        raise host.error(f"after {took:.2f} s of the {GONE_SECONDS:.0f} s allowed, these still ran: {sorted(left)}")
    return took


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill the host, and start it again at once.")
    parser.add_argument("--rounds", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--serpentry", type=Path, default=ROOT / "target/release/serpentry", help="the program")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not os.access(arguments.serpentry, os.X_OK):
        parser.error(f"needs a round, and a program at {arguments.serpentry} (`make build`)")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
