"""What the router keeps: clients that hoard, dawdle or send too much, and workers that break their link to it."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from findings import Finding, always, event, exactly
from registry import BOTH, case
from stage import Stage

MIB = 1 << 20

ROUTER: dict[str, Any] = {
    "connections": 20,
    "queue": 2,
    "queue_timeout": "8s",
    "request_timeout": "3s",
    "header_timeout": "1s",
    "body_timeout": "1s",
    "header_size": "8KiB",
    "body_size": "64KiB",
}


def head(target: str, extra: str = "", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


def status_of(connection: socket.socket) -> int:
    """The status of the next answer, whose body is left unread; 0 if the connection ended."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            byte = connection.recv(1)
        except ConnectionResetError:
            return 0
        if not byte:
            return 0
        line += byte
    return int(line.split()[1])


def answer_of(stage: Stage, data: bytes, timeout: float = 20.0) -> int:
    """The status for these bytes; 0 for a connection that ends without one, -1 for none in time."""
    with socket.create_connection(stage.address, timeout=timeout) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            return status_of(connection)
        except TimeoutError:
            return -1


@case("connections: hoarder", models=BOTH, limits=ROUTER)
def hoarder(stage: Stage) -> list[Finding]:
    """Keep-alive connections that are never used again: as many as allowed, and not one more."""
    wanted = 60
    opened: list[socket.socket] = []
    statuses = []
    try:
        for _ in range(wanted):
            connection = socket.create_connection(stage.address, timeout=20)
            opened.append(connection)
            connection.sendall(head("/attacker/who"))
            statuses.append(status_of(connection))
    finally:
        for connection in opened:
            connection.close()
    return [
        exactly("connections served", statuses.count(200), ROUTER["connections"]),
        event("one more is answered 503", statuses.count(503) == wanted - ROUTER["connections"]),
        always("served again when they are gone", stage.serves_again()),
    ]


@case("queue: more requests than may wait", models=BOTH, limits={"queue": 2})
def queue(stage: Stage) -> list[Finding]:
    """One hangs in the only worker, two wait, the others are refused at once."""
    statuses: list[tuple[int, float]] = []

    def ask() -> None:
        started = time.monotonic()
        status = stage.request("/attacker/attack/hang?seconds=2", "POST")[0]
        statuses.append((status, time.monotonic() - started))

    clients = [threading.Thread(target=ask) for _ in range(7)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    refused = [seconds for status, seconds in statuses if status == 503]
    return [
        event(f"of 7 requests 4 are refused ({sorted(status for status, _ in statuses)})", len(refused) == 4),
        always("at once", all(seconds < 1.5 for seconds in refused)),
        always("and served again afterwards", stage.serves_again()),
    ]


@case("queue: waiting too long", models=BOTH, limits={"queue_timeout": "500ms"})
def queue_timeout(stage: Stage) -> Finding:
    hanging = threading.Thread(target=lambda: stage.attack("hang", seconds=2))
    hanging.start()
    stage.host.wait(lambda: stage.host.app("attacker")["workers"][0]["state"] == "serving", "it serves")
    time.sleep(0.3)  # The first request is in the worker by then, or this one is and waits for nobody.
    started = time.monotonic()
    statuses = {stage.request("/attacker/who")[0] for _ in range(2)}
    took = time.monotonic() - started
    hanging.join()
    return event(f"answered 503 ({sorted(statuses)}) after {took:.2f} s", 503 in statuses and took < 1.9)


@case("idle connections", models=BOTH, limits={"keepalive_timeout": "1s"})
def idle(stage: Stage) -> Finding:
    with socket.create_connection(stage.address, timeout=4) as connection:
        connection.sendall(head("/attacker/who"))
        started = time.monotonic()
        try:
            while connection.recv(4096):
                pass
            closed = True
        except TimeoutError:
            closed = False
        took = time.monotonic() - started
    return event(f"closed after {took:.1f} s", closed and took < 3.5)


@case("deadline: a request that never ends", models=BOTH, limits=ROUTER)
def deadline(stage: Stage) -> list[Finding]:
    started = time.monotonic()
    answer = stage.attack("hang", seconds=6)
    took = time.monotonic() - started
    return [
        event(f"answered 504 ({answer['status']}) after {took:.2f} s", answer["status"] == 504 and 2.9 <= took < 5.5),
        always("and served again afterwards", stage.serves_again()),
    ]


@case("slow writer: a head that never ends", models=BOTH, limits=ROUTER)
def slow_head(stage: Stage) -> Finding:
    with socket.create_connection(stage.address, timeout=20) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /attacker/who HTTP/1.1\r\n")
        status = -1
        connection.settimeout(0.1)
        while time.monotonic() - started < 4:
            try:
                connection.sendall(b"X: y\r\n")
                status = status_of(connection)
                break
            except TimeoutError:
                continue
            except OSError:
                status = 0
                break
        took = time.monotonic() - started
    # The largest of all applications' counts until it is known whose request it is: the neighbour's is 10 s.
    if stage.model != "unlimited" and took >= 4:
        return Finding("", False, False, absent="the head's limit is that of all applications together (10 s)")
    return event(f"ended after {took:.1f} s ({status})", status in (0, 408))


@case("slow writer: a body that stops coming", models=BOTH, limits=ROUTER)
def slow_body(stage: Stage) -> Finding:
    with socket.create_connection(stage.address, timeout=5) as connection:
        started = time.monotonic()
        connection.sendall(head("/attacker/upload", "Content-Length: 1000\r\n", "POST") + b"x")
        try:
            status = status_of(connection)
        except TimeoutError:
            status = -1
        took = time.monotonic() - started
    return event(f"answered 408 ({status}) after {took:.1f} s", status == 408 and took < 4)


@case("slow reader", models=BOTH, limits=ROUTER)
def slow_reader(stage: Stage) -> list[Finding]:
    """A large answer that is not read: the worker is free again, the connection ends."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(stage.address)
        connection.sendall(head("/attacker/stream?mib=64"))
        started = time.monotonic()
        free = False
        while time.monotonic() - started < 6 and not free:
            try:
                free = stage.request("/attacker/who", timeout=6.5 - (time.monotonic() - started))[0] == 200
            except OSError:
                break
        took = time.monotonic() - started
    return [
        event(f"the worker is free again after {took:.1f} s", free and took < 5),
        always("and served again afterwards", stage.serves_again()),
    ]


@case("a head that is too large", models=BOTH, limits=ROUTER)
def large_head(stage: Stage) -> Finding:
    status = answer_of(stage, head("/attacker/who", f"X-Large: {'y' * 20_000}\r\n"))
    return event(f"answered 431 ({status})", status == 431)


@case("a body that is too large", models=BOTH, limits=ROUTER)
def large_body(stage: Stage) -> Finding:
    body = b"x" * 200_000
    status = answer_of(stage, head("/attacker/upload", f"Content-Length: {len(body)}\r\n", "POST") + body)
    return event(f"answered 413 ({status})", status == 413)


@case("a chunked body that is too large", models=BOTH, limits=ROUTER)
def large_chunked(stage: Stage) -> Finding:
    chunks = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    data = head("/attacker/upload", "Transfer-Encoding: chunked\r\n", "POST") + chunks * 6 + b"0\r\n\r\n"
    status = answer_of(stage, data)
    return event(f"answered 413 ({status})", status == 413)


# ---- workers that break their link ----

SPOILERS = ("close-links", "shut-links", "garbage", "flood")


def register_spoilers() -> None:
    for name in SPOILERS:

        def run(stage: Stage, name: str = name) -> list[Finding]:
            before = stage.worker()
            answer = stage.attack(name, seconds=2, timeout=60)
            # The worker dies of it in every model; that nobody else does is what is tested.
            return [
                always(f"answered with an error ({answer['status']})", answer["status"] in (200, 502, 504)),
                always("back in service", stage.serves_again()),
                always("by a new worker", name == "flood" or stage.worker() != before),
            ]

        case(f"frames: {name}", models=BOTH, limits=ROUTER, unprovable="there is no host that survives it less")(run)


register_spoilers()


@case("log lines without end", models=BOTH, limits=ROUTER, unprovable="dropping lines is not a limit of the model")
def chatter(stage: Stage) -> list[Finding]:
    answer = stage.attack("chatter", seconds=2)
    size = sum(path.stat().st_size for path in (stage.state / "logs").rglob("*attacker*") if path.is_file())
    return [
        always(
            f"answered ({answer['status']}, {answer.get('bytes', 0) / MIB:.0f} MiB written)", answer["status"] == 200
        ),
        always(f"its logs stay within what is kept ({size / MIB:.0f} MiB)", size < 70 * MIB),
    ]
