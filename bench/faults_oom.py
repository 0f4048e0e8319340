"""One of four workers killed for want of memory under load: what its clients got, and what `why` says."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import toml_text
from hosting import Host

CLIENTS = 8
SECONDS_BEFORE = 2.0
SECONDS_AFTER = 3.0
MEMORY = "192MiB"


def run(program: Path, folder: Path, python: str) -> dict[str, Any]:
    """Both tenancies if we may isolate."""
    found = {tenancy: one(program, folder / tenancy, python, tenancy) for tenancy in ("shared", "isolated")}
    return {"clients": CLIENTS, "memory": MEMORY, "tenancies": found}


def one(program: Path, folder: Path, python: str, tenancy: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    source = subprocess.check_output([str(program), "drill", "--source"], text=True)
    app_folder = folder / "app"
    app_folder.mkdir(exist_ok=True)
    (app_folder / "serpentry_drill.py").write_text(source)
    app = {
        "app": "serpentry_drill:wsgi",
        "directory": str(app_folder),
        "python": python,
        "tenancy": tenancy,
        "workers": 4,
        "threads": 2,
        "limits": {"memory": MEMORY},
        "env": {"PYTHONDONTWRITEBYTECODE": "1"},
    }
    state = folder / "state"
    file = folder / "serpentry.toml"
    file.write_text(toml_text.document({"listen": ["127.0.0.1:0"], "state": str(state)}, {"shop": app}))
    host = Host(program, file, state, flags=("--no-echo",))
    try:
        host.wait_until_ready()
        return measure(host)
    finally:
        host.kill()


def measure(host: Host) -> dict[str, Any]:
    address = host.address
    assert not isinstance(address, str)
    stop, answers = threading.Event(), []

    def client(method: str) -> None:
        while not stop.is_set():
            answers.append(ask(address, method, "/drill/wait?s=0.05"))

    clients = [threading.Thread(target=client, args=(("GET", "POST")[number % 2],)) for number in range(CLIENTS)]
    for thread in clients:
        thread.start()
    time.sleep(SECONDS_BEFORE)
    killer = ask(address, "POST", "/drill/eat?mib=1024")
    time.sleep(SECONDS_AFTER)
    stop.set()
    for thread in clients:
        thread.join()
    why = host.do("why", "shop")
    incidents = json.loads(host.do("why", "shop", "--json"))
    counted = Counter((method, str(status), (incident or "").split("-")[0]) for method, status, incident, _ in answers)
    return {
        "answers": [{"method": m, "status": s, "incident": i, "count": c} for (m, s, i), c in sorted(counted.items())],
        "slowest_ms": max(seconds for *_, seconds in answers) * 1000,
        "killer": {"status": killer[1], "incident": killer[2], "body": killer_body(address, killer)},
        "why": why,
        "incidents": incidents,
        "replayed": host.app("shop")["requests"]["replayed"],
    }


def killer_body(address: tuple[str, int], killer: tuple[str, Any, Any, float]) -> str:
    return f"POST /drill/eat answered {killer[1]} after {killer[3]:.2f} s"


def ask(address: tuple[str, int], method: str, path: str) -> tuple[str, Any, str | None, float]:
    began = time.monotonic()
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, path, headers={"Accept": "application/problem+json"})
        answer = connection.getresponse()
        answer.read()
        return method, answer.status, answer.getheader("Serpentry-Incident"), time.monotonic() - began
    except (OSError, http.client.HTTPException) as error:
        return method, type(error).__name__, None, time.monotonic() - began
    finally:
        connection.close()
