"""Steady load on a server while a test does something to it, counting every request that failed.

A closed loop per thread, keeping the connection while the server does. A request that fails is counted and
never retried: hiding failures is what this must not do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rawhttp import Connection, Response, fetch, request_bytes


class Load:
    """Use as a context manager; afterwards `answers` counts the bodies and `failures` says what failed."""

    def __init__(self, address: tuple[str, int] | str, target: str = "/", clients: int = 8):
        self.address, self.request, self.clients = address, request_bytes("GET", target), clients
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.answers: dict[bytes, int] = {}
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    @property
    def done(self) -> int:
        with self.lock:
            return sum(self.answers.values())

    def _run(self) -> None:
        connection: Connection | None = None
        while not self.stopping.is_set():
            try:
                if connection is None:
                    connection = Connection(self.address, timeout=20)
                response = connection.send(self.request).read_response()
                with self.lock:
                    self.answers[response.body] = self.answers.get(response.body, 0) + 1
                    if response.status != 200:
                        self.failures.append(f"status {response.status}: {response.body[:100]!r}")
                if not response.keeps_alive:
                    connection.close()
                    connection = None
            except Exception as error:
                with self.lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
                self.stopping.wait(0.01)
        if connection is not None:
            connection.close()


def in_background(address: tuple[str, int] | str, target: str, **keywords: object) -> Future[Response]:
    """Send one request from a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(fetch, address, target, **keywords)  # type: ignore[arg-type]
    pool.shutdown(wait=False)
    return future


def wait_for_progress(load: Load, wait_until: Callable, more: int = 50, timeout: float = 20.0) -> None:
    """Wait until `more` further requests are answered, so that the load is known to run."""
    target = load.done + more
    wait_until(lambda: load.done >= target, timeout, f"{more} more answers; failures {load.failures[:3]}")
