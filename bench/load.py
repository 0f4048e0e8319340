"""A small HTTP/1.1 client for load: asyncio transports, one request at a time per connection, no library.

It understands what the measured servers answer: Content-Length, chunked (its end is recognized, its chunks
are not taken apart) and answers that end with the connection. It is not a general HTTP client.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    body: bytes


class ConnectionFailed(Exception):
    """The connection ended without a whole answer. `began` tells whether part of one had arrived."""

    def __init__(self, reason: str, began: bool):
        super().__init__(reason)
        self.began = began


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = bytearray()
        self.waiting: asyncio.Future[Answer] | None = None
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.usable = True

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        self.waiting = asyncio.get_running_loop().create_future()
        if self.usable:
            self.transport.write(request)
        else:
            self.waiting.set_exception(ConnectionFailed("closed before the request", False))
        return self.waiting

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.parse(ended=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self.parse(ended=True)
        if self.waiting and not self.waiting.done():
            reason = "connection reset" if isinstance(error, ConnectionResetError) else "connection closed"
            self.waiting.set_exception(ConnectionFailed(reason, bool(self.buffer)))

    def parse(self, ended: bool) -> None:
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0 or not self.waiting or self.waiting.done():
            return
        head = bytes(self.buffer[:head_end]).lower()
        body = bytes(self.buffer[head_end + 4 :])
        length = header(head, b"content-length")
        if length is not None:
            complete = len(body) >= int(length)
            body = body[: int(length)]
        elif header(head, b"transfer-encoding") == b"chunked":
            complete = body.endswith(b"0\r\n\r\n")
        else:
            complete = ended
        if complete:
            self.finish(Answer(int(head[9:12]), body), head)

    def finish(self, answer: Answer, head: bytes) -> None:
        kept = header(head, b"connection") != b"close" and not head.startswith(b"http/1.0")
        self.buffer.clear()
        if not kept:
            self.close()
        self.waiting.set_result(answer)

    def close(self) -> None:
        self.usable = False
        self.transport.close()


def header(head: bytes, name: bytes) -> bytes | None:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def request_bytes(path: str, method: str = "GET", body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    if method == "POST":
        head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Pool:
    """Keep-alive connections, opened when none is idle, chosen at random among the idle ones."""

    def __init__(self, port: int, seed: int):
        self.port = port
        self.random = random.Random(seed)
        self.idle: list[Connection] = []
        self.opened = 0
        self.repeated = 0

    async def request(self, data: bytes) -> Answer:
        connection = self.take()
        if connection:
            try:
                return await self.on(connection, data)
            except ConnectionFailed as failed:
                # The server closed an idle connection while the request was on its way: every client repeats
                # then.
                if failed.began:
                    raise
                self.repeated += 1
        self.opened += 1
        return await self.on(await connect(self.port), data)

    async def on(self, connection: Connection, data: bytes) -> Answer:
        answer = await connection.send(data)
        if connection.usable:
            self.idle.append(connection)
        return answer

    def take(self) -> Connection | None:
        while self.idle:
            position = self.random.randrange(len(self.idle))
            self.idle[position], self.idle[-1] = self.idle[-1], self.idle[position]
            connection = self.idle.pop()
            if connection.usable:
                return connection
        return None

    def close(self) -> None:
        for connection in self.idle:
            connection.close()


async def open_loop(port: int, plan: list[tuple[float, bytes]], seed: int) -> dict:
    """Send each (seconds from start, request) at its time whatever the server does.

    Latencies in seconds, counted from the planned time; None for a failed request. `lags` is how late the
    generator itself was. A thread keeps the time (its sleep is exact to about 0.1 ms, the event loop's to 1
    ms).
    """
    loop = asyncio.get_running_loop()
    pool = Pool(port, seed)
    latencies: list[float | None] = [None] * len(plan)
    lags = [0.0] * len(plan)
    failures: dict[str, int] = {}
    tasks: set[asyncio.Task] = set()
    all_sent = asyncio.Event()
    start = time.monotonic() + 0.2

    async def one(index: int) -> None:
        planned = start + plan[index][0]
        try:
            answer = await pool.request(plan[index][1])
            if answer.status == 200:
                latencies[index] = time.monotonic() - planned
                return
            reason = f"status {answer.status}"
        except (ConnectionFailed, OSError) as error:
            reason = str(error)
        failures[reason] = failures.get(reason, 0) + 1

    def fire(index: int) -> None:
        lags[index] = time.monotonic() - start - plan[index][0]
        task = loop.create_task(one(index))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if index == len(plan) - 1:
            all_sent.set()

    def keep_time() -> None:
        for index, (at, _) in enumerate(plan):
            delay = start + at - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            loop.call_soon_threadsafe(fire, index)

    gc.disable()
    timekeeper = threading.Thread(target=keep_time, daemon=True)
    timekeeper.start()
    await all_sent.wait()
    if tasks:
        await asyncio.wait(list(tasks), timeout=15)
    late = len(tasks)
    if late:
        failures["no answer within 15 s after the end"] = late
        for task in list(tasks):
            task.cancel()
    gc.enable()
    pool.close()
    return {
        "latencies": latencies,
        "lags": lags,
        "failures": failures,
        "opened": pool.opened,
        "repeated": pool.repeated,
    }


def percentile(values: list[float], percent: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100) - 1).__int__())]


def pin_self(pin: bool) -> None:
    """The generator on core 1, the server on core 0."""
    if pin:
        os.sched_setaffinity(0, {1})
