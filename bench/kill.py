"""`kill -9` of a random worker every second under load: how many requests fail?

Thirty-two keep-alive clients in a closed loop, four workers. A request fails when its answer is not 200 with
the right body, or when its connection ends without a whole answer; nothing is repeated by the client. GET may
be repeated by a server, POST may not (a POST that Python had started must fail, so POST failures of one per
kill and request in hand are right; more are not). Only processes below the started server are killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time

import load
import processes
import servers

WORKERS = 4
CLIENTS = 32
SUBJECTS = [
    ("serpentry", "wsgi"),
    ("serpentry", "asgi"),
    ("gunicorn gthread", "wsgi"),
    ("uvicorn", "asgi"),
    ("granian", "wsgi"),
    ("granian", "asgi"),
]
POST_BODY = b"x" * 100


class Tally:
    def __init__(self) -> None:
        self.answered = 0
        self.failures: dict[str, int] = {}
        self.kills = 0
        self.unkillable = 0
        self.gave_up: float | None = None
        self.stop = False

    def fail(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def as_dict(self, seconds: float) -> dict:
        failed = sum(self.failures.values())
        return {
            "requests": self.answered + failed,
            "failed": failed,
            "failures": self.failures,
            "kills": self.kills,
            "seconds_without_workers": self.unkillable,
            "gave_up_after": self.gave_up,
            "seconds": seconds,
        }


async def client(port: int, request: bytes, expected: bytes, tally: Tally) -> None:
    connection = None
    while not tally.stop:
        try:
            if connection is None or not connection.usable:
                connection = await load.connect(port)
            answer = await connection.send(request)
            if answer.status == 200 and answer.body == expected:
                tally.answered += 1
                continue
            tally.fail(f"status {answer.status}" if answer.status != 200 else "wrong body")
        except load.ConnectionFailed as error:
            tally.fail(str(error))
        except OSError as error:
            tally.fail("connection refused" if isinstance(error, ConnectionRefusedError) else str(error))
        # A server that is down is asked a hundred times a second by each client, not as fast as the machine
        # can.
        await asyncio.sleep(0.01)


async def killer(server: servers.Running, source: random.Random, seconds: float, tally: Tally) -> None:
    start = time.monotonic()
    for tick in range(1, int(seconds) + 1):
        if not await runs_until(server, start + tick):
            tally.gave_up = time.monotonic() - start
            return
        workers = await asyncio.to_thread(processes.workers, server.pid)
        if workers:
            try:
                os.kill(source.choice(workers), signal.SIGKILL)
                tally.kills += 1
            except ProcessLookupError:
                pass
        else:
            tally.unkillable += 1
    # One more second, for what the last kill leads to.
    if not await runs_until(server, start + int(seconds) + 1):
        tally.gave_up = time.monotonic() - start


async def runs_until(server: servers.Running, moment: float) -> bool:
    """Wait until the moment; False at once when the server has exited by itself."""
    while (left := moment - time.monotonic()) > 0:
        if server.process.poll() is not None:
            return False
        await asyncio.sleep(min(left, 0.05))
    return True


async def load_and_kill(server: servers.Running, method: str, seconds: float, seed: int) -> dict:
    body, expected = (POST_BODY, b"%d\n" % len(POST_BODY)) if method == "POST" else (b"", b"alive\n")
    request = load.request_bytes("/", method, body)
    tally = Tally()
    began = time.monotonic()
    clients = [asyncio.create_task(client(server.port, request, expected, tally)) for _ in range(CLIENTS)]
    await killer(server, random.Random(seed), seconds, tally)
    tally.stop = True
    _, hanging = await asyncio.wait(clients, timeout=5)
    for task in hanging:
        tally.fail("no answer")
        task.cancel()
    return tally.as_dict(time.monotonic() - began)


def run(methods: dict[str, float], seed: int, pin: bool, only: list[str]) -> dict:
    """`methods` gives the seconds of killing for each method to measure."""
    load.pin_self(pin)
    rows: list[dict] = []
    problems = []
    for method, seconds in methods.items():
        for name, interface in SUBJECTS:
            if not servers.available(name) or (only and name not in only):
                continue
            try:
                with servers.Running(name, servers.KILL[interface], WORKERS, 0 if pin else None) as server:
                    server.wait_for_workers()
                    row = asyncio.run(load_and_kill(server, method, seconds, seed))
                    log = server.log_end()
            except servers.ServerFailed as error:
                problems.append(f"{method} {interface}: {error}")
                print(f"  {method:4s} {name} {interface}: {error}", file=sys.stderr)
                continue
            row.update({"server": name, "interface": interface, "method": method})
            if row["gave_up_after"] is not None:
                row["last_words"] = log
            rows.append(row)
            text = (
                f"{row['failed']} failed of {row['requests']}, {row['kills']} kills {row['failures'] or ''}"
            )
            text += (
                f" gave up after {row['gave_up_after']:.1f} s: {log}"
                if row["gave_up_after"] is not None
                else ""
            )
            print(f"  {method:4s} {name:16s} {interface} {text}", file=sys.stderr)
    return {
        "methods": methods,
        "seed": seed,
        "clients": CLIENTS,
        "workers": WORKERS,
        "rows": rows,
        "problems": problems,
    }
