"""Memory when idle (router, worker against a bare interpreter, connections) and start times.

Worker overhead is the worker's memory minus that of `python -c "import application"` of the same virtual
environment, each measured alone (PSS depends on who else maps the same files, so both live without the
other). Memory per idle connection is the growth of the server's tree after 10,000 keep-alive connections did
one request each, divided by their number; it leaves out what the kernel keeps for a socket, which is the same
for every server.
"""

from __future__ import annotations

import functools
import resource
import socket
import statistics
import subprocess
import sys
import time

import environment
import load
import processes
import servers

CONNECTED = ["serpentry", "uvicorn"]


def run(repetitions: int, connections: int, only: list[str]) -> dict:
    """Bytes and seconds; medians over the repetitions."""
    allow_files(connections + 500)
    result: dict = {"repetitions": repetitions, "problems": [], "trees": {}, "connections": {}}
    result["interpreter"] = {
        interface: median_of(
            [interpreter(servers.APPS[f"hello {interface.upper()}"]) for _ in range(repetitions)]
        )
        for interface in ("wsgi", "asgi")
    }
    for interface in ("wsgi", "asgi"):
        app = servers.APPS[f"hello {interface.upper()}"]
        for name in servers.for_app(app):
            if servers.SERVERS[name].peer and (not only or name in only):
                guarded(
                    result, f"{name} {interface}", functools.partial(trees, name, app, repetitions), "trees"
                )
    for name in CONNECTED:
        if servers.available(name) and (not only or name in only):
            guarded(result, name, functools.partial(per_connection, name, connections), "connections")
    return result


def guarded(result: dict, label: str, measure, section: str) -> None:
    try:
        result[section][label] = measure()
        print(f"  {label:24s} {result[section][label]}", file=sys.stderr)
    except (servers.ServerFailed, OSError) as error:
        result["problems"].append(f"{label}: {error}")
        print(f"  {label:24s} {error}", file=sys.stderr)


def interpreter(app: servers.App) -> dict[str, float]:
    """A bare interpreter that imported the application and waits: bytes, and seconds until then."""
    code = f"import {app.module}, sys; print('ready', flush=True); sys.stdin.read()"
    began = time.monotonic()
    process = subprocess.Popen(
        [str(environment.PYTHON), "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment.app_environment(),
    )
    try:
        if process.stdout.readline().strip() != "ready":
            raise servers.ServerFailed(f"the interpreter cannot import {app.module}")
        seconds = time.monotonic() - began
        time.sleep(0.3)
        return {**processes.memory([process.pid]), "start_seconds": seconds}
    finally:
        process.stdin.close()
        process.wait(5)
        process.stdout.close()


def trees(name: str, app: servers.App, repetitions: int) -> dict:
    """Root process, first worker (None when the root is the worker) and tree, idle after ten requests."""
    samples: dict[str, list[dict]] = {"root": [], "worker": [], "tree": []}
    starts = []
    for _ in range(repetitions):
        with servers.Running(name, app) as server:
            for _ in range(10):
                server.get()
            time.sleep(0.5)
            starts.append(server.start_seconds)
            workers = processes.workers(server.pid)
            samples["root"].append(processes.memory([server.pid]))
            samples["tree"].append(processes.memory(processes.tree(server.pid)))
            if workers:
                samples["worker"].append(processes.memory(workers[:1]))
    result = {part: median_of(values) if values else None for part, values in samples.items()}
    return {**result, "start_seconds": statistics.median(starts)}


def per_connection(name: str, connections: int) -> dict[str, float]:
    """Growth of root and tree in bytes for each idle connection."""
    app = servers.APPS["hello WSGI" if "wsgi" in servers.SERVERS[name].interfaces else "hello ASGI"]
    with servers.Running(name, app) as server:
        # What the first connections allocate once is not a cost per connection.
        opened = open_idle(server, 100)
        try:
            time.sleep(0.5)
            before = {
                "root": processes.memory([server.pid]),
                "tree": processes.memory(processes.tree(server.pid)),
            }
            opened += open_idle(server, connections)
            time.sleep(1)
            after = {
                "root": processes.memory([server.pid]),
                "tree": processes.memory(processes.tree(server.pid)),
            }
            if complaint := server.complaint():
                raise servers.ServerFailed(f"{name} with {connections} idle connections: {complaint}")
            closed = count_closed(opened)
        finally:
            for connection in opened:
                connection.close()
    if closed:
        raise servers.ServerFailed(f"{name} closed {closed} of {connections} idle connections")
    growth = {
        f"{part}_{kind}": (after[part][kind] - before[part][kind]) / connections
        for part in after
        for kind in after[part]
    }
    return {"count": connections, **growth}


def open_idle(server: servers.Running, count: int) -> list[socket.socket]:
    """Keep-alive connections that did one request each and got a right answer."""
    request = load.request_bytes(server.app.path)
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            opened.append(connection)
            connection.sendall(request)
            answer = b""
            while server.app.expected.encode() not in answer:
                data = connection.recv(65536)
                if not data:
                    raise OSError(f"closed connection {len(opened)} before answering: {answer[:60]!r}")
                answer += data
    except OSError:
        for connection in opened:
            connection.close()
        raise
    return opened


def count_closed(connections: list[socket.socket]) -> int:
    """How many of the idle connections the server has closed."""
    closed = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            closed += connection.recv(1) == b""
        except BlockingIOError:
            pass
        except OSError:
            closed += 1
    return closed


def allow_files(wanted: int) -> None:
    """Raise the limit of open files, which the servers inherit; fails with what to change."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(
            f"bench: {wanted} open files are needed, the limit is {hard}: raise it with `ulimit -Hn`"
        )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else wanted, hard))


def median_of(samples: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}
