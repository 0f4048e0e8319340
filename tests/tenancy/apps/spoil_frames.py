"""A worker that breaks its link to the router: descriptor 3 is the data link, 4 the control link.

Only what an application can do from outside the worker's own code; tests/it/rogue.rs has every malformed frame.
"""

import os
import socket
import struct
import threading
import time

DATA, CONTROL = 3, 4
STARTED, STACK = 7, 39


def links():
    """The descriptors that are sockets, lowest first: the links, whatever their numbers."""
    found = []
    for name in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            if os.readlink("/proc/self/fd/%d" % name).startswith("socket:"):
                found.append(name)
        except OSError:
            continue
    return found


def close_links(arguments):
    """Close them; the answer cannot arrive."""
    for link in links():
        os.close(link)
    return {}


def shut_links(arguments):
    """Shut them down in both directions."""
    for link in links():
        with socket.socket(fileno=os.dup(link)) as end:
            end.shutdown(socket.SHUT_RDWR)
    return {}


def garbage(arguments):
    """What is no frame at all."""
    os.write(DATA, bytes(range(255, -1, -1)) * 64)
    return {}


def flood(arguments):
    """Valid frames for `seconds`, as fast as the socket takes them, on both links."""
    until = time.monotonic() + float(arguments["seconds"])
    started = struct.pack("<IBBHQ", 0, STARTED, 0, 0, int(arguments.get("request", "1"))) * 4096
    text = b"here"
    stack = struct.pack("<IBBHQ", len(text) + 4, STACK, 0, 0, 1) + struct.pack("<I", len(text)) + text

    def pour(link, data):
        try:
            while time.monotonic() < until:
                os.write(link, data)
        except OSError:
            pass  # The host has had enough.

    other = threading.Thread(target=pour, args=(CONTROL, stack * 2048), daemon=True)
    other.start()
    pour(DATA, started)
    other.join(1)
    return {}


def hang(arguments):
    """Never answer, and ignore the interrupt."""
    until = time.monotonic() + float(arguments["seconds"])
    while time.monotonic() < until:
        try:
            time.sleep(max(0.0, until - time.monotonic()))
        except BaseException:
            continue
    return {}


def chatter(arguments):
    """Log lines without end, for `seconds`: what a tenant writes must not stop the host."""
    until = time.monotonic() + float(arguments["seconds"])
    line = b"x" * 4000 + b"\n"
    count = 0
    while time.monotonic() < until:
        count += os.write(2, line)
    return {"bytes": count}


ATTACKS = {
    "close_links": close_links,
    "shut_links": shut_links,
    "garbage": garbage,
    "flood": flood,
    "hang": hang,
    "chatter": chatter,
}
