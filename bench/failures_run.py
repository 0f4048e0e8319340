"""Runs each server with each fault once, and keeps what its clients got and what it wrote.

Every server has two workers, its own defaults for everything it does not need to be told, four threads per worker where
it has threads, and gunicorn's time limit at the value that serpentry's test applications have (3 s; the others have no
limit for a request).
"""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes
from hosting import clean_environment

MEMORY = 192 * 2**20
QUOTA = 0.2
FILES = 128
VOLUME = "4m"
PATIENCE = 8.0
START_SECONDS = 30.0
WSGI, ASGI = "serpentry_drill:wsgi", "serpentry_drill:asgi"


def gunicorn(port: int, interface: str) -> list[str]:
    common = ["gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--timeout", "3", "--no-control-socket"]
    if interface == "asgi":
        return [*common, "--worker-class", "asgi", ASGI]
    return [*common, "--worker-class", "gthread", "--threads", "4", WSGI]


def granian(port: int, interface: str) -> list[str]:
    common = ["granian", "--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--respawn-failed-workers"]
    if interface == "asgi":
        return [*common, "--interface", "asgi", ASGI]
    return [*common, "--interface", "wsgi", "--blocking-threads", "4", WSGI]


def uvicorn(port: int, interface: str) -> list[str]:
    return ["uvicorn", "--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--no-access-log", ASGI]


def gunicorn_sync(port: int, interface: str) -> list[str]:
    """Its default: the only one whose time limit is for a request."""
    return ["gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--timeout", "3", "--no-control-socket", WSGI]


SERVERS = {"gunicorn": gunicorn, "gunicorn sync": gunicorn_sync, "granian": granian, "uvicorn": uvicorn}


@dataclass
class Scene:
    """A running server and its visitors."""

    port: int
    pid: int
    visits: list[dict[str, Any]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    held: list[socket.socket] = field(default_factory=list)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def visit(self, method: str, path: str) -> dict[str, Any]:
        began = time.monotonic()
        it: dict[str, Any] = {"method": method, "path": path, "status": None, "type": None, "error": None}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers={"Accept": "application/problem+json", "Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            it |= {"status": answer.status, "type": answer.getheader("Content-Type")}
        except (OSError, http.client.HTTPException) as error:
            it["error"] = f"{type(error).__name__}: {error}".rstrip(": ")
        finally:
            connection.close()
        return it | {"seconds": time.monotonic() - began}

    def send(self, method: str, path: str) -> None:
        self._begin(lambda: self.visits.append(self.visit(method, path)))

    def keep_asking(self, path: str) -> None:
        def ask() -> None:
            while not self.over.is_set():
                it = self.visit("GET", path)
                if it["status"] != 200 or not any(no["path"] == path for no in self.visits):
                    self.visits.append(it)
                time.sleep(0.001)

        self._begin(ask)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)

    def end(self) -> None:
        self.over.set()
        for child in self.children:
            child.kill()
            child.wait()
        for held in self.held:
            held.close()
        deadline = time.monotonic() + PATIENCE + 2
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def inside(scene: Scene) -> None:
    for method in ("GET", "POST", "GET", "POST"):
        scene.send(method, "/drill/wait?s=1.5")
    time.sleep(0.2)


def oom(scene: Scene) -> None:
    inside(scene)
    scene.send("POST", "/drill/eat?mib=1024")
    time.sleep(4)


def starved(scene: Scene) -> None:
    # A neighbour: another tenant's processes, which compute on every core, for no longer than this.
    code = "import time\nuntil = time.time() + 6\nwhile time.time() < until: pass"
    scene.children += [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
    for _ in range(2):
        scene.keep_asking("/drill/spin?ms=5")
    time.sleep(4)


def throttled(scene: Scene) -> None:
    for _ in range(2):
        scene.keep_asking("/drill/spin?ms=50")
    time.sleep(4)


def blocked(scene: Scene) -> None:
    for _ in range(8):
        scene.keep_asking("/drill/wait?s=0.05")
    time.sleep(0.2)
    scene.send("GET", "/drill/block?s=0.75")
    time.sleep(3)


def gil(scene: Scene) -> None:
    scene.keep_asking("/drill/spin?ms=300")
    for _ in range(4):
        scene.keep_asking("/drill/spin?ms=2")
    time.sleep(4)


def fsync(scene: Scene) -> None:
    for _ in range(4):
        scene.keep_asking("/drill/fsync?times=4")
    time.sleep(4)


def hung(scene: Scene) -> None:
    scene.send("GET", "/drill/deadlock")
    scene.send("GET", "/drill/wait?s=1.5")
    time.sleep(PATIENCE + 1)


def connections(scene: Scene) -> None:
    for _ in range(FILES * 2 + 40):
        try:
            held = socket.create_connection(("127.0.0.1", scene.port), timeout=1)
            held.sendall(b"GET /drill/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            scene.held.append(held)
        except OSError:
            break
    time.sleep(1)
    for _ in range(2):
        scene.send("GET", "/drill/hello")
    time.sleep(PATIENCE + 1)


def segv(scene: Scene) -> None:
    inside(scene)
    scene.send("POST", "/drill/segv")
    time.sleep(4)


def full(scene: Scene) -> None:
    scene.send("GET", "/drill/fill?s=1")
    time.sleep(3)


def upstream(scene: Scene) -> None:
    scene.send("GET", "/drill/upstream")
    time.sleep(PATIENCE + 1)


@dataclass
class Fault:
    """How it happens, and what there is to say about it (as in `serpentry drill`)."""

    happen: Callable[[Scene], None]
    about: str
    proof: tuple[str, ...]
    interface: str = "wsgi"
    limit: tuple[str, ...] = ()
    path: str = ""


FAULTS = {
    "oom": Fault(
        oom,
        "one worker takes memory until the kernel kills it at a limit of 192 MiB, with requests inside",
        ("worker", "limit", "requests", "growth", "answer"),
        limit=("192", str(MEMORY)),
        path="/drill/eat",
    ),
    "starved": Fault(starved, "a neighbour computes on every core", ()),
    "throttled": Fault(throttled, "it wants more than its CPU limit of 0.2 cores", ("limit",), limit=("0.2", "20%", "20 %")),
    "blocked-loop": Fault(blocked, "a coroutine waits without await for 0.75 s", ("worker",), interface="asgi"),
    "gil": Fault(gil, "one request computes 300 ms and keeps the others in its worker waiting", ()),
    "slow-fsync": Fault(fsync, "requests wait until what they log is on the disk", ()),
    "hung": Fault(hung, "a request waits for a lock that nobody will give back", ("limit", "requests", "answer"), limit=(" 3 ", "3s", "3 s"), path="/drill/deadlock"),
    "connections": Fault(connections, "clients hold more connections than the process may have files (128)", ("limit", "requests", "answer"), limit=("128",), path="/drill/hello"),
    "segv": Fault(segv, "a worker crashes in native code, with requests inside", ("worker", "requests", "answer"), path="/drill/segv"),
    "disk-full": Fault(full, "the volume is filled to the last block", ("limit",), limit=("4 MiB", "4MiB", "4194304")),
    "upstream": Fault(upstream, "a request waits for another server that says nothing", ("limit", "requests", "answer"), limit=(" 3 ", "3s", "3 s"), path="/drill/upstream"),
}


def run(venv: Path, folder: Path, only: list[str], servers: list[str]) -> dict[str, Any]:
    """All of them; what cannot be started says why."""
    chosen = only or list(FAULTS)
    found = []
    for name in chosen:
        for server in servers or SERVERS:
            it = one(venv, folder, server, name)
            found.append(it)
            print(f"failures: {name} under {server}: {it['points']} of {it['of']}", file=sys.stderr, flush=True)
    versions = {server: version(venv, server) for server in ("gunicorn", "granian", "uvicorn")}
    return {"versions": versions, "python": version(venv, "python"), "results": found}


def version(venv: Path, program: str) -> str:
    said = subprocess.run([str(venv / "bin" / program), "--version"], capture_output=True, text=True, check=True)
    return (said.stdout or said.stderr).strip().splitlines()[0]


def one(venv: Path, folder: Path, server: str, name: str) -> dict[str, Any]:
    fault = FAULTS[name]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = folder / "data", folder / f"{name}-{server.replace(' ', '-')}.log"
    data.mkdir(exist_ok=True)
    interface = {"uvicorn": "asgi", "gunicorn sync": "wsgi"}.get(server, fault.interface)
    command = SERVERS[server](port, interface)
    command[0] = str(venv / "bin" / command[0])
    environment = clean_environment() | {"SERPENTRY_DATA": str(data), "PYTHONDONTWRITEBYTECODE": "1"}
    with Limits(name, data) as limits, log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=limits.enter,
        )
        scene = Scene(port, child.pid)
        try:
            wait_ready(scene, child, log)
            workers = processes.workers(child.pid)
            seen = log.stat().st_size
            fault.happen(scene)
            scene.end()
            gone = [pid for pid in workers if not processes.start_time(pid)]
            again = scene.visit("GET", "/drill/hello")
            # Before it is stopped, which it has something to say about too.
            said = log.read_bytes()[seen:].decode(errors="replace")
        finally:
            scene.end()
            kill_tree(child)
    said = said.replace(str(venv), "VENV").replace(str(folder), "DIR")
    return judged(name, fault, server, interface, scene, said, workers, gone, again)


def judged(
    name: str,
    fault: Fault,
    server: str,
    interface: str,
    scene: Scene,
    said: str,
    workers: list[int],
    gone: list[int],
    again: dict[str, Any],
) -> dict[str, Any]:
    """What it says, by the same points as `serpentry drill`: of one server with one application, that much is given."""
    explained = any(
        it["status"] in (502, 503, 504) and "json" in (it["type"] or "") for it in scene.visits
    )
    checks = {
        "application": bool(said.strip()),
        "worker": any(str(pid) in said for pid in gone or workers) if "worker" in fault.proof else None,
        "limit": any(limit in said for limit in fault.limit) if "limit" in fault.proof else None,
        "requests": fault.path in said if "requests" in fault.proof else None,
        "growth": False if "growth" in fault.proof else None,
        "answer": explained if "answer" in fault.proof else None,
    }
    return {
        "fault": name,
        "about": fault.about,
        "server": server,
        "interface": interface,
        "visits": scene.visits,
        "log": said,
        "workers_gone": len(gone),
        "serves_again": again["status"] == 200,
        "again": again["status"] or again["error"],
        "precision": checks,
        "points": sum(it is True for it in checks.values()),
        "of": sum(it is not None for it in checks.values()),
    }


def wait_ready(scene: Scene, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        if scene.visit("GET", "/drill/hello")["status"] == 200 and len(processes.workers(scene.pid)) >= 2:
            time.sleep(1)
            return
        time.sleep(0.1)
    raise SystemExit(f"failures: a server did not start: {log.read_text(errors='replace')[-2000:]}")


def kill_tree(child: subprocess.Popen[bytes]) -> None:
    pids = processes.tree(child.pid)
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        pass
    for pid in {*pids, *processes.tree(child.pid)}:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    child.wait(10)


class Limits:
    """What the fault needs of the machine, taken away at the end."""

    def __init__(self, fault: str, data: Path) -> None:
        self.fault, self.data = fault, data
        self.groups: list[Path] = []
        self.mounted = False

    def __enter__(self) -> Limits:
        if self.fault == "oom":
            self._group("memory", {"memory.limit_in_bytes": MEMORY})
        if self.fault == "throttled":
            self._group("cpu", {"cpu.cfs_period_us": 100_000, "cpu.cfs_quota_us": int(QUOTA * 100_000)})
        if self.fault == "disk-full":
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={VOLUME}", "none", str(self.data)], check=True)
            self.mounted = True
        return self

    def _group(self, controller: str, values: dict[str, int]) -> None:
        group = Path(f"/sys/fs/cgroup/{controller}/serpentry-failures-{os.getpid()}")
        group.mkdir()
        self.groups.append(group)
        for name, value in values.items():
            (group / name).write_text(str(value))

    def enter(self) -> None:
        """In the child, before exec."""
        for group in self.groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        if self.fault == "connections":
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    def __exit__(self, *_: object) -> None:
        for group in self.groups:
            for _ in range(100):
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
        if self.mounted:
            subprocess.run(["umount", str(self.data)], check=False)
