"""Steady load on many applications of one host, from processes of its own, with every outcome recorded.

Closed loop: each client keeps one connection, sends a request, checks the answer, thinks for a moment. Nothing is
retried: hiding failures is what this must not do. A request fails by a connection error, no answer in time, a status
other than 200 or a wrong body; a wrong body is also one of a version that was replaced before the request was sent.
Loopback only, and bounded: so many clients, so many requests each of them can send in its time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
import random
import time
from array import array
from dataclasses import dataclass, field
from typing import Any

PROCESSES = 2
ANSWER_SECONDS = 60.0
KEPT_FAILURES = 20
BODY = b"a body that must come back as its hash " * 20
BODY_HASH = hashlib.sha256(BODY).hexdigest()


@dataclass(frozen=True)
class Target:
    """One application as a client sees it."""

    name: str
    host: str
    prefix: str
    # POST too: only where no worker is killed, since a POST that has begun is never run twice.
    posts: bool = False
    clients: int = 3


@dataclass
class Outcome:
    """What became of the requests to one application. Times are seconds since the load began."""

    at: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    failed: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    # Sent while the application was being removed, or was absent: answered in whatever way.
    not_counted: int = 0
    marks: set[int] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)

    def add(self, other: Outcome) -> None:
        """Take over what another process has seen."""
        self.at.extend(other.at)
        self.seconds.extend(other.seconds)
        self.failed += other.failed
        self.failures = sorted(self.failures + other.failures)[:KEPT_FAILURES]
        self.not_counted += other.not_counted
        self.marks |= other.marks
        self.pids |= other.pids

    def quantile_ms(self, share: float) -> float:
        """The quantile of the answered requests' durations in milliseconds; 0 without any."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0


class Board:
    """What the drill tells the clients while they run: plain numbers in shared memory."""

    def __init__(self, targets: list[Target]) -> None:
        self.index = {target.name: number for number, target in enumerate(targets)}
        # The least MARK that an answer may have, when the request is sent now.
        self._floor = multiprocessing.RawArray("i", len(targets))
        # Odd while the application is being removed, is absent, or is being added again.
        self._absence = multiprocessing.RawArray("i", [1] * len(targets))
        self._quiet = multiprocessing.RawArray("i", len(targets))
        self._stop = multiprocessing.RawValue("i", 0)

    def raise_floor(self, name: str, mark: int) -> None:
        """From now on every answer has at least this mark."""
        self._floor[self.index[name]] = mark

    def floor(self, name: str) -> int:
        return int(self._floor[self.index[name]])

    def set_present(self, name: str, present: bool) -> None:
        """Whether the application is there for certain."""
        number = self.index[name]
        if (self._absence[number] % 2 == 0) != present:
            self._absence[number] += 1

    def absence(self, name: str) -> int:
        """Changes with each removal and addition; odd while the application may be absent."""
        return int(self._absence[self.index[name]])

    def set_quiet(self, name: str, quiet: bool) -> None:
        """Whether its clients send nothing."""
        self._quiet[self.index[name]] = int(quiet)

    def is_quiet(self, name: str) -> bool:
        return bool(self._quiet[self.index[name]])

    def stop(self) -> None:
        self._stop.value = 1

    def stopped(self) -> bool:
        return bool(self._stop.value)


class Load:
    """The client processes. `start`, then `finish`; `end` kills what is left."""

    def __init__(self, address: tuple[str, int], targets: list[Target], board: Board, think: float) -> None:
        """`think`: mean pause between requests in seconds."""
        self.board, self.targets = board, targets
        # Forked: the clients need nothing but this module, and share the board's memory.
        context = multiprocessing.get_context("fork")
        self._pipes, self._processes = [], []
        began = time.monotonic()
        for number in range(PROCESSES):
            receive, send = context.Pipe(duplex=False)
            arguments = (address, targets, board, think, number, began, send, os.getpid())
            self._processes.append(context.Process(target=_run_process, args=arguments, daemon=True))
            self._pipes.append(receive)

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def finish(self) -> dict[str, Outcome]:
        """Let every client end its request; what they saw, by application."""
        self.board.stop()
        total = {target.name: Outcome() for target in self.targets}
        for pipe, process in zip(self._pipes, self._processes):
            if not pipe.poll(ANSWER_SECONDS + 10):
                raise RuntimeError("a client process did not end its requests in time")
            for name, outcome in pipe.recv().items():
                total[name].add(outcome)
            process.join(10)
        return total

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            if process.is_alive():
                process.kill()


def _run_process(
    address: tuple[str, int],
    targets: list[Target],
    board: Board,
    think: float,
    number: int,
    began: float,
    send: Any,
    parent: int,
) -> None:
    outcomes = {target.name: Outcome() for target in targets}

    async def run() -> None:
        clients = []
        for target in targets:
            for index in range(target.clients):
                if index % PROCESSES == number:
                    client = _Client(address, target, board, think, began, outcomes[target.name])
                    clients.append(client.run())
        watch = asyncio.create_task(_end_with(parent))
        await asyncio.gather(*clients)
        watch.cancel()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        os._exit(1)
    send.send(outcomes)


async def _end_with(parent: int) -> None:
    """The clients must not outlive the drill, however it ends."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    os._exit(1)


class _Client:
    """One connection, and one request after the other on it."""

    def __init__(
        self,
        address: tuple[str, int],
        target: Target,
        board: Board,
        think: float,
        began: float,
        outcome: Outcome,
    ) -> None:
        self.address, self.target, self.board = address, target, board
        self.think, self.began, self.outcome = think, began, outcome
        self.random = random.Random(f"{target.name}{id(self)}")
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.sent = 0

    async def run(self) -> None:
        name = self.target.name
        while not self.board.stopped():
            if self.board.is_quiet(name) or self.board.absence(name) % 2:
                await asyncio.sleep(0.05)
                continue
            await self._one()
            await asyncio.sleep(self.random.uniform(0, 2 * self.think))
        self._close()

    async def _one(self) -> None:
        """One request, and its outcome."""
        name, outcome = self.target.name, self.outcome
        absence, floor = self.board.absence(name), self.board.floor(name)
        sent = time.monotonic()
        try:
            problem = await asyncio.wait_for(self._exchange(floor), ANSWER_SECONDS)
        except Exception as error:  # Whatever it was, it is the outcome of this request.
            problem = f"{type(error).__name__}: {error}"
        took = time.monotonic() - sent
        if problem:
            self._close()
        if absence % 2 or self.board.absence(name) != absence:
            outcome.not_counted += 1
        elif problem:
            outcome.failed += 1
            if len(outcome.failures) < KEPT_FAILURES:
                outcome.failures.append((sent - self.began, f"after {took:.3f} s: {problem}"))
        else:
            outcome.at.append(sent - self.began)
            outcome.seconds.append(took)

    async def _exchange(self, floor: int) -> str:
        """Send a request and read its answer; what is wrong with it, or nothing."""
        self.sent += 1
        posts = self.target.posts and self.sent % 5 == 0
        path = f"/page/{self.sent}"
        head = f"{'POST' if posts else 'GET'} {self.target.prefix}{path}?q={self.sent} HTTP/1.1\r\n"
        head += f"Host: {self.target.host}\r\n"
        head += f"Content-Length: {len(BODY)}\r\n\r\n" if posts else "\r\n"
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(*self.address)
        self.writer.write(head.encode() + (BODY if posts else b""))
        status, keeps, body = await _read_answer(self.reader)
        if not keeps:
            self._close()
        if status != 200:
            return f"{head.split(' HTTP')[0]}: status {status}: {body[:300]!r}"
        answer = json.loads(body)
        expected = {
            "app": self.target.name,
            "root": self.target.prefix,
            "path": path,
            "query": f"q={self.sent}",
            "body": BODY_HASH if posts else "",
        }
        for key, value in expected.items():
            if answer[key] != value:
                return f"{key} is {answer[key]!r} instead of {value!r}"
        mark = int(answer["mark"])
        self.outcome.marks.add(mark)
        self.outcome.pids.add(answer["pid"])
        if mark < floor:
            return f"answered by version {mark} (pid {answer['pid']}) although {floor} served already"
        return ""

    def _close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Status, whether the connection stays, body (with a length or in chunks)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    keeps = fields.get("connection") != "close"
    if "content-length" in fields:
        return status, keeps, await reader.readexactly(int(fields["content-length"]))
    if fields.get("transfer-encoding") != "chunked":
        raise ValueError("the answer has neither a length nor chunks")
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, keeps, body
