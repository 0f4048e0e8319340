"""An hour in which nothing is wrong: the three examples in use, and no incident may be reported.

Each example has visitors who come at random (`serpentry load`, a few requests a second) and one who uses all of it again
and again as the demonstration does: forms, the admin, streams, uploads, WebSockets; a client that leaves in the middle of
a stream; connections that stay open and idle. Meanwhile what an administrator does all day: each application is moved
to the other tenancy and back and restarted, in turn. At the end one worker is killed, to prove that it would have been told.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demo
from demo_client import Client, WrongAnswer
from demo_visits import visit_feed, visit_site
from hosting import Host, HostError

# Requests per second of the visitors who come at random, and what they ask for.
VISITORS: dict[str, tuple[float, tuple[str, ...]]] = {
    "shop": (10.0, ("/", "/product/3", "/static/style.css", "/basket")),
    "site": (6.0, ("/", "/new/", "/static/guestbook/style.css", "/admin/login/")),
    "feed": (12.0, ("/messages", "/docs", "/healthz", "/stream?chunks=5&pause_ms=20")),
}
IDLE_CONNECTIONS = 50
VISIT_EVERY, LEAVE_EVERY, CHANGE_EVERY = 15.0, 30.0, 100.0
# What is done to each; only root can isolate.
CHANGES = ("isolated", "shared", "restart") if os.geteuid() == 0 else ("restart",)
# How long the killed worker's incident may take.
PROOF_SECONDS = 5.0


def run(program: Path, minutes: float, pace: float, seed: int) -> dict[str, Any]:
    """So many minutes, with everything so many times as often: an hour's load in less than one."""
    password = secrets.token_urlsafe(12)
    environment = demo.variables(password)
    examples = demo.examples(password)
    file, state = demo.copy_file()
    for example in examples:
        demo.prepare(example, environment, state)
    host = Host(program, file, state, environment=environment, flags=("--no-echo",))
    try:
        host.wait_until_ready()
        with contextlib.redirect_stdout(io.StringIO()):
            used = use(host, password, minutes * 60, pace, seed)
        incidents = listed(host)
        return {"minutes": minutes, "pace": pace, **used, "incidents": incidents, "proof": prove(host)}
    finally:
        host.kill()


def use(host: Host, password: str, seconds: float, pace: float, seed: int) -> dict[str, Any]:
    """Everything at once until the time is over; what was done, counted."""
    port = host.address[1]
    assert isinstance(port, int)
    over, counts, wrong = threading.Event(), Counter(), []
    visitors = [Visitors(host, port, name, seconds, pace, seed + number) for number, name in enumerate(VISITORS)]
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE_CONNECTIONS)]
    draw = random.Random(seed)

    def site(client: Client) -> None:
        visit_site(client, counts["whole visits of site"] + 1, password)

    def shop(client: Client) -> None:
        client.get("/", contains="Cast-iron pan")
        client.post_form("/basket", {"product": "4", "quantity": "1"}, status=303, location="/basket")
        buyer = {"name": "Ada Lovelace", "email": "ada@example.org", "address": ""}
        client.post_form("/checkout", buyer, status=422, contains="Please fill in your address.")

    # The feed is in its worker's memory: a visit that is to find what it wrote must not span two generations.
    same_generation = threading.Lock()

    def feed(client: Client) -> None:
        with same_generation:
            # Whatever it has been told before.
            visit_feed(client, 10)

    def visit(name: str, how: Callable[[Client], None]) -> None:
        client = Client("127.0.0.1", port, prefix=f"/{name}")
        try:
            how(client)
        finally:
            client.close()
        counts[f"whole visits of {name}"] += 1

    def leave() -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /feed/stream?chunks=50&pause_ms=50 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(100)
        counts["clients that left a stream"] += 1

    # One after another: a small machine has a core of its own for one of them.
    changes = itertools.cycle((name, what) for name in VISITORS for what in CHANGES)

    def change() -> None:
        name, what = next(changes)
        with same_generation:
            host.do(*(("restart", name) if what == "restart" else ("move", name, what)))
        counts[f"times {name}: {what}"] += 1

    def again(every: float, what: Callable[[], None]) -> None:
        while not over.wait(draw.uniform(0.5, 1.5) * every / pace):
            try:
                what()
            except (WrongAnswer, HostError, OSError) as error:
                wrong.append(f"{type(error).__name__}: {error}"[:500])

    doing = [
        (VISIT_EVERY, lambda: visit("shop", shop)),
        (VISIT_EVERY, lambda: visit("site", site)),
        (VISIT_EVERY, lambda: visit("feed", feed)),
        (LEAVE_EVERY, leave),
        (CHANGE_EVERY, change),
    ]
    threads = [threading.Thread(target=again, args=it, daemon=True) for it in doing]
    for thread in threads:
        thread.start()
    # The load ends by itself.
    answered = {it.name: it.result() for it in visitors}
    over.set()
    for thread in threads:
        thread.join(30)
    for connection in idle:
        connection.close()
    return {"visitors": answered, "done": dict(counts), "wrong": wrong, "idle_connections": len(idle)}


class Visitors:
    """`serpentry load` on one example."""

    def __init__(self, host: Host, port: int, name: str, seconds: float, pace: float, seed: int) -> None:
        self.name = name
        rate, paths = VISITORS[name]
        urls = [f"http://127.0.0.1:{port}/{name}{path}" for path in paths]
        command = [str(host.program), "load", *urls, "--rate", str(rate * pace), "--duration", f"{seconds:g}s"]
        command += ["--seed", str(seed), "--json"]
        self.child = subprocess.Popen(
            command, env=host.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def result(self) -> dict[str, Any]:
        """Its document, once it has ended."""
        output, _ = self.child.communicate()
        try:
            found = json.loads(output)
        except ValueError:
            raise HostError(f"`serpentry load` on {self.name} ended with {self.child.returncode}") from None
        assert isinstance(found, dict)
        return found


def listed(host: Host) -> list[dict[str, Any]]:
    """Every incident since the start, once."""
    events = [json.loads(line) for line in host.do("events", "--json").splitlines()]
    incidents = {event["incident"]["id"]: event["incident"] for event in events}
    kept = ("id", "app", "code", "cause", "sentence", "evidence")
    return [{key: it[key] for key in kept} for it in incidents.values()]


def prove(host: Host) -> dict[str, Any]:
    """A worker killed now is told: an empty list is no fault of this measurement."""
    before = {it["id"] for it in listed(host)}
    killed = time.monotonic()
    os.kill(host.serving_pids("shop")[0], signal.SIGKILL)
    while time.monotonic() - killed < PROOF_SECONDS:
        if new := [it for it in listed(host) if it["id"] not in before]:
            return {"seconds": time.monotonic() - killed, "code": new[0]["code"], "sentence": new[0]["sentence"]}
        time.sleep(0.1)
    raise HostError(f"a killed worker was not told within {PROOF_SECONDS:g} s: the quiet hour proves nothing")


def say(found: dict[str, Any]) -> str:
    """One line for whoever waits."""
    told = "; ".join(f"{it['app']} {it['code']}: {it['sentence']}" for it in found["incidents"]) or "no incident"
    return f"quiet: {found['minutes']:g} minutes, {found['done']}, {len(found['wrong'])} wrong answers, {told}"
