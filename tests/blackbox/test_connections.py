"""Ten thousand idle keep-alive connections: the server still answers quickly and pays little for each.

The number is lowered to what the open-file limits allow (half a connection is ours, half the server's),
and what was reached is printed. Connections come from several loopback addresses, so that the range of
ephemeral ports is not what is tested.
"""

from __future__ import annotations

import resource
import socket
import time

import pytest
from conftest import Launcher
from rawhttp import request_bytes
from servers import memory

WANTED = 10_000
PER_CONNECTION = 8 * 1024  # the budget: router memory of an idle keep-alive connection, bytes


def reachable_count() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(WANTED, hard - 500)


def open_idle(address: tuple[str, int], number: int) -> socket.socket:
    """A connection that has had one answer and is now idle."""
    sock = socket.create_connection(address, timeout=20, source_address=(f"127.0.1.{number % 200 + 1}", 0))
    sock.sendall(request_bytes("GET", "/"))
    data = b""
    while not data.endswith(b"ok"):
        part = sock.recv(4096)
        assert part, f"connection {number} was closed: {data!r}"
        data += part
    assert data.startswith(b"HTTP/1.1 200 ") and b"connection: close" not in data.lower(), data
    return sock


def test_ten_thousand_idle_connections(
    launch: Launcher, either: tuple[str, str], server_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    count = reachable_count()
    more = {} if server_name == "uvicorn" else {"connections": count + 100}
    server = launch(f"life:{either[0]}", interface=either[0], mode=either[1], keep_alive=120, **more)
    sockets = [open_idle(server.address, number) for number in range(20)]
    base = {pid: memory(pid) for pid in server.all_pids()}
    try:
        sockets += [open_idle(server.address, number) for number in range(20, count)]
        each = {pid: (memory(pid) - before) / count for pid, before in base.items()}
        times = []
        for _ in range(50):
            started = time.monotonic()
            assert server.fetch("/").status == 200
            times.append(time.monotonic() - started)
        for sock in sockets[::97]:
            sock.sendall(request_bytes("GET", "/"))
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for sock in sockets:
            sock.close()
    with capsys.disabled():
        print(
            f"\n    {server_name} {'-'.join(either)}: {count} idle connections, "
            f"{sum(each.values()) / 1024:.1f} KiB each, new request median {sorted(times)[25] * 1e3:.1f} ms"
        )
    assert sorted(times)[25] < 0.1
    limit = PER_CONNECTION if server_name == "serpentry" else 8 * PER_CONNECTION
    assert sum(each.values()) < limit
