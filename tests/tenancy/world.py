"""A network of our own for everything these tests run, with an outside: nobody else's interfaces, tables and routes.

This process moves into a new network namespace; a veth pair leads to another one, the world, where a child answers
TCP and UDP on OUTSIDE with the address that it was asked from. So reaching the outside can be tested on a machine
without a network, and what hosts leave behind in the network is theirs alone. Everything ends with this process.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading

NEW_NETWORK = 0x40000000
OUTSIDE, INSIDE, PORT = "192.0.2.1", "192.0.2.2", 7007
PR_SET_PDEATHSIG = 1


class NoWorld(Exception):
    """It cannot be made here; the text says why."""


def enter() -> int:
    """Make it and move in; the pid of the child in the world. Before there are threads."""
    if shutil.which("ip") is None:
        raise NoWorld("`ip` (iproute2) is not installed")
    try:
        _unshare()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _live_in_the_world(writing)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "outside0", "type", "veth", "peer", "name", "world0", "netns", str(child))
        _ip("address", "add", f"{INSIDE}/24", "dev", "outside0")
        _ip("link", "set", "outside0", "up")
        _ip("route", "add", "default", "via", OUTSIDE)
        os.kill(child, signal.SIGUSR1)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or ""
        raise NoWorld(f"{error} {said}".strip()) from error
    _wait_for_outside()
    return child


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the network namespace")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


def _wait_for_outside() -> None:
    for _ in range(100):
        try:
            with socket.create_connection((OUTSIDE, PORT), timeout=0.2):
                return
        except OSError:
            threading.Event().wait(0.05)
    raise NoWorld("the outside does not answer")


def _live_in_the_world(ready: int) -> None:
    """The child: its own namespace, its end of the pair (once it is there), two servers. Never returns."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _unshare()
        os.write(ready, b"+")
        signal.sigwait({signal.SIGUSR1})
        _ip("link", "set", "lo", "up")
        _ip("address", "add", f"{OUTSIDE}/24", "dev", "world0")
        _ip("link", "set", "world0", "up")
        threading.Thread(target=_answer_datagrams, daemon=True).start()
        with socket.create_server((OUTSIDE, PORT)) as server:
            while True:
                client, address = server.accept()
                with client:
                    client.sendall(address[0].encode())
    finally:
        os._exit(1)


def _answer_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((OUTSIDE, PORT))
        while True:
            _, address = server.recvfrom(2000)
            server.sendto(address[0].encode(), address)
