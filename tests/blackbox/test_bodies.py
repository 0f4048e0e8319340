"""Bodies of every size in both directions: every byte right, memory of router and worker bounded.

Peak resident memory (VmHWM) is reset before each transfer and read after it, for the server's process and
each worker. The client streams too, so the test itself does not hold 100 MiB.
"""

from __future__ import annotations

import hashlib
import json
import signal

import pytest
from conftest import Launcher, Running
from load import in_background
from rawhttp import Connection, request_bytes
from servers import memory, reset_peak

MIB = 1024 * 1024
SIZES = {"0": 0, "1": 1, "64KiB": 65536, "64KiB+1": 65537, "1MiB": MIB, "100MiB": 100 * MIB}
PIECE = bytes(range(256)) * 256
ALLOWED = 64 * MIB


def pieces(size: int):
    while size > 0:
        yield PIECE[:size]
        size -= len(PIECE)


def digest_of(size: int) -> str:
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
    return digest.hexdigest()


@pytest.fixture
def server(shared, either: tuple[str, str], server_name: str) -> Running:
    """Peers have no limit of the body; serpentry's is raised above the biggest body here."""
    limit = {"max_body": 200 * MIB} if server_name == "serpentry" else {}
    return shared(f"bodies:{either[0]}", interface=either[0], mode=either[1], **limit)


@pytest.fixture
def bounded(server: Running):
    """Fails when a process of the server grew by more than ALLOWED at its peak."""
    base = {pid: memory(pid) for pid in server.all_pids()}
    for pid in base:
        reset_peak(pid)
    yield
    for pid, before in base.items():
        grown = memory(pid, "VmHWM") - before
        assert grown < ALLOWED, f"pid {pid} grew by {grown // MIB} MiB"


def receive_digest(connection: Connection, chunked_allowed: bool) -> tuple[int, str]:
    """A server that sees the end of the body before it has sent the head may say Content-Length instead."""
    response = connection.read_start()
    assert response.status == 200
    chunked = response.get("Transfer-Encoding") == "chunked"
    assert chunked_allowed or not chunked
    digest, size = hashlib.sha256(), 0
    if chunked:
        while data := connection.read_chunk():
            digest.update(data)
            size += len(data)
        return size, digest.hexdigest()
    left = int(response.get("Content-Length"))
    while left:
        data = connection._exactly(min(left, 65536))
        digest.update(data)
        size += len(data)
        left -= len(data)
    return size, digest.hexdigest()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_up(server: Running, bounded: None, size: int, framing: str) -> None:
    with server.connect(timeout=60) as connection:
        if framing == "length":
            connection.send(request_bytes("POST", "/", {"Content-Length": str(size)}))
            for piece in pieces(size):
                connection.send(piece)
        else:
            connection.send(request_bytes("POST", "/", {"Transfer-Encoding": "chunked"}))
            for piece in pieces(size):
                connection.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            connection.send(b"0\r\n\r\n")
        response = connection.read_response()
    assert json.loads(response.body) == {"size": size, "sha256": digest_of(size)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_down(server: Running, bounded: None, size: int, framing: str) -> None:
    with server.connect(timeout=60) as connection:
        connection.send(request_bytes("GET", f"/?size={size}" + ("&known=1" if framing == "length" else "")))
        assert receive_digest(connection, framing == "chunked") == (size, digest_of(size))


def test_several_big_bodies_at_once(server: Running, bounded: None) -> None:
    """Four uploads of 25 MiB side by side, on one worker."""
    from concurrent.futures import ThreadPoolExecutor

    def upload(_: int) -> dict:
        with server.connect(timeout=120) as connection:
            connection.send(request_bytes("POST", "/", {"Content-Length": str(25 * MIB)}))
            for piece in pieces(25 * MIB):
                connection.send(piece)
            return json.loads(connection.read_response().body)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(upload, range(4))) == [{"size": 25 * MIB, "sha256": digest_of(25 * MIB)}] * 4


@pytest.mark.asgi
@pytest.mark.serpentry_only
def test_upload_to_a_blocked_loop_survives_its_replacement(launch: Launcher) -> None:
    """The worker cannot start the request and is replaced meanwhile: the next one must get the body from the start."""
    size = 4 * 65536
    server = launch("bodies:asgi", interface="asgi", mode="asyncio", workers=1)
    blocked = in_background(server.address, "/block?size=1")
    server.wait_for_event("blocking")
    with server.connect(timeout=30) as connection:
        connection.send(request_bytes("POST", "/", {"Content-Length": str(size)}))
        first, *rest = pieces(size)
        connection.send(first)
        server.signal(signal.SIGHUP)
        server.wait_for_log("reload done")
        for piece in rest:
            connection.send(piece)
        response = connection.read_response()
    assert json.loads(response.body) == {"size": size, "sha256": digest_of(size)}
    assert blocked.result(15).status == 200
