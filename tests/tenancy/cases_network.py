"""The application's own network, and the bandwidth between it and its clients."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from findings import Finding, always, denied, leak, rate
from registry import BOTH, case
from stage import Stage
from world import INSIDE, OUTSIDE, PORT

MIB = 1 << 20
REFUSED = ("ECONNREFUSED", "ENETUNREACH", "EPERM", "EACCES", "EHOSTUNREACH", "TimeoutError", "ETIMEDOUT")

# ---- the application's own network ----


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_address() -> str | None:
    """The address this machine would use to go out; None without a route. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


@case("listen on another port", needs=("network_namespace",))
def listen(stage: Stage) -> Finding:
    """It may open a port in a network of its own; nobody comes past the router through it."""
    port = free_port()
    stage.attack("listen", port=port)
    return leak("a client came past the router", reachable("127.0.0.1", port))


@case("connect to the host and to other applications", needs=("egress_none",), limits={"egress": "none"})
def connect(stage: Stage) -> list[Finding]:
    found = []
    with socket.socket() as service:
        service.bind(("0.0.0.0", 0))
        service.listen()
        port = service.getsockname()[1]
        targets = [("the host's own port", *stage.address), ("a service on loopback", "127.0.0.1", port)]
        if outside := own_address():
            targets.append(("a service on the machine's address", outside, port))
        other = free_port()
        stage.attack("listen", app="victim", port=other)
        targets += [("another application's port", "127.0.0.1", other), ("the outside", OUTSIDE, PORT)]
        for what, address, number in targets:
            answer = stage.attack("connect", address=address, port=number)
            found.append(denied(answer, *REFUSED, what=f"{what} ({address}:{number})"))
    return found


@case("a datagram to a service of the machine", needs=("egress_none",), limits={"egress": "none"})
def datagram(stage: Stage) -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 0))
        service.settimeout(1)
        stage.attack("send-datagram", address="127.0.0.1", port=service.getsockname()[1], text=stage.secret)
        try:
            arrived = service.recv(100) == stage.secret.encode()
        except TimeoutError:
            arrived = False
    return leak("arrived", arrived)


@case("a route to the outside", needs=("egress_none",), limits={"egress": "none"})
def route_out(stage: Stage) -> Finding:
    if own_address() is None:
        return Finding("", False, False, absent="this machine has no route to the outside itself")
    return denied(stage.attack("route-out", address="192.0.2.1"), *REFUSED)


@case("egress: nat", needs=("egress_nat",), limits={"egress": "nat"}, unprovable="it is about what is allowed")
def nat(stage: Stage) -> list[Finding]:
    """The outside is reached in the machine's name; the machine and its applications are not."""
    answer = stage.attack("connect", address=OUTSIDE, port=PORT, read=1)
    found = [always(f"reaches the outside ({answer.get('errno') or answer.get('value')})", answer["got"])]
    if answer["got"]:
        found.append(always("in the name of the machine", answer["value"] == INSIDE))
    router = stage.attack("connect", address="127.0.0.1", port=stage.address[1])
    found.append(denied(router, *REFUSED, what="the host's own port on loopback"))
    back = stage.attack("listen", port=(port := free_port()))
    if back["got"]:
        found.append(leak("a client comes past the router", reachable("127.0.0.1", port)))
    return found


@case("egress: host", needs=("egress_host",), limits={"egress": "host"}, unprovable="it is about what is allowed")
def host_network(stage: Stage) -> Finding:
    answer = stage.attack("connect", address=OUTSIDE, port=PORT, read=1)
    return always(f"reaches the outside ({answer.get('errno') or answer.get('value')})", answer.get("value") == INSIDE)


def reachable(address: str, port: int) -> bool:
    """Does somebody greet us there?"""
    try:
        with socket.create_connection((address, port), timeout=3) as connection:
            return connection.recv(100).startswith(b"past the router")
    except OSError:
        return False


@case("see the machine's interfaces", needs=("egress_none",), limits={"egress": "none"})
def interfaces(stage: Stage) -> Finding:
    answer = stage.attack("interfaces")
    if len(socket.if_nameindex()) < 2:
        return Finding("", False, False, absent="this machine has loopback only")
    mine = {name for _, name in socket.if_nameindex()} - {"lo"}
    seen = mine & set(answer.get("names", []))
    return Finding(f"sees {answer.get('names')}", through=bool(seen), held=not seen)


# ---- bandwidth ----

BANDWIDTH = 4 * MIB
WINDOW = (1.5, 4.5)
IN_OUT: dict[str, Any] = {"bandwidth_in": "4MiB/s", "bandwidth_out": "4MiB/s"}
LARGE: dict[str, Any] = {"body_size": "1GiB", "request_timeout": "60s"}


@case(
    "bandwidth out: as fast as it can", models=BOTH, needs=("bandwidth_out",), limits=IN_OUT, allowed=LARGE, repeat=True
)
def bandwidth_out(stage: Stage) -> Finding:
    """Bytes that a client gets per second, once the bucket's first filling is gone."""
    count = 0
    with socket.create_connection(stage.address, timeout=20) as connection:
        connection.sendall(b"GET /attacker/stream?mib=4000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        start = time.monotonic()
        first = last = start
        while (now := time.monotonic()) < start + WINDOW[1]:
            size = len(connection.recv(1 << 16))
            if not size:
                break
            if now >= start + WINDOW[0]:
                if count == 0:
                    first = now
                count += size
                last = time.monotonic()
    return rate("received", count / max(last - first, 0.001), BANDWIDTH, "MiB/s", MIB)


@case(
    "bandwidth out: many connections",
    models=BOTH,
    needs=("bandwidth_out",),
    limits=IN_OUT,
    allowed=LARGE,
    settings={"workers": 4},
    repeat=True,
)
def bandwidth_out_many(stage: Stage) -> Finding:
    """The limit is the application's, not the connection's."""
    counts = [0] * 4
    start = time.monotonic()

    def take(index: int) -> None:
        with socket.create_connection(stage.address, timeout=20) as connection:
            connection.sendall(b"GET /attacker/stream?mib=4000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while (now := time.monotonic()) < start + WINDOW[1]:
                size = len(connection.recv(1 << 16))
                if not size:
                    break
                if now >= start + WINDOW[0]:
                    counts[index] += size

    takers = [threading.Thread(target=take, args=(index,)) for index in range(len(counts))]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    return rate("received by 4", sum(counts) / (WINDOW[1] - WINDOW[0]), BANDWIDTH, "MiB/s", MIB)


@case("bandwidth in", models=BOTH, needs=("bandwidth_in",), limits=IN_OUT, allowed=LARGE, repeat=True)
def bandwidth_in(stage: Stage) -> Finding:
    """Bytes that a client can send per second, once buffers and the bucket's first filling are full."""
    count = 0
    piece = b"x" * 65536
    with socket.create_connection(stage.address, timeout=20) as connection:
        connection.sendall(
            b"POST /attacker/upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000000\r\n\r\n"
        )
        start = time.monotonic()
        first = last = start
        while (now := time.monotonic()) < start + WINDOW[1]:
            try:
                size = connection.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            if now >= start + WINDOW[0]:
                if count == 0:
                    first = now
                count += size
                last = time.monotonic()
    return rate("sent", count / max(last - first, 0.001), BANDWIDTH, "MiB/s", MIB)
