"""Networks: listen where clients could come past the router, connect to where nothing should be reachable."""

import os
import socket
import threading

from attempts import attempt

LISTENERS = []


def listen(arguments):
    """Listen on `port` of every address and greet whoever comes; the test tries to come."""

    def open_listener():
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", int(arguments["port"])))
        listener.listen()
        LISTENERS.append(listener)
        threading.Thread(target=greet, args=(listener,), daemon=True).start()

    return attempt(open_listener)


def greet(listener):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.sendall(b"past the router\n")
        client.close()


def connect(arguments):
    """TCP to `address` and `port`; got: it is open there. With `read`, what it says."""

    def open_connection():
        with socket.create_connection((arguments["address"], int(arguments["port"])), timeout=3) as sock:
            return sock.recv(100).decode(errors="replace") if "read" in arguments else None

    return attempt(open_connection)


def send_datagram(arguments):
    """A UDP datagram to `address` and `port`: whether it arrived is for the receiver to say."""

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(arguments["text"].encode(), (arguments["address"], int(arguments["port"])))

    return attempt(send)


def route_out(arguments):
    """Is there a route to `address`? Connecting a UDP socket asks for it and sends nothing."""

    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((arguments["address"], 9))
            return sock.getsockname()[0]

    return attempt(ask)


def interfaces(arguments):
    """The interfaces it sees, and those whose state it could change; got: one besides its own."""
    names = [name for _, name in socket.if_nameindex()]
    return {"got": any(name not in ("lo", *arguments.get("own", "").split(",")) for name in names), "names": names}


def hold(arguments):
    """Keep `count` connections to `address` and `port` open from inside."""
    opened = []

    def take():
        while len(opened) < int(arguments["count"]):
            opened.append(socket.create_connection((arguments["address"], int(arguments["port"])), timeout=3))

    answer = attempt(take)
    for sock in opened:
        sock.close()
    return {**answer, "opened": len(opened), "fds": len(os.listdir("/proc/self/fd"))}


ATTACKS = {
    "listen": listen,
    "connect": connect,
    "send_datagram": send_datagram,
    "route_out": route_out,
    "interfaces": interfaces,
    "hold": hold,
}
