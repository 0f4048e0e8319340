"""A noisy neighbour: `/start?seconds=S` lets loose 4 CPU burners, an fsync storm and a memory hog, and answers at once.

All of them end by themselves when their time is over. The hog takes 150 MiB, gives them back, and again: page faults
and reclaim, not a kill. Limits of the application bound it as well.
"""

import hashlib
import mmap
import os
import time
from urllib.parse import parse_qsl

BURNERS = 4
HOG_BYTES = 150 << 20
BLOCK = b"x" * 262144


def burn(until):
    while time.monotonic() < until:
        hashlib.sha256(BLOCK).digest()


def sync(until):
    """Small durable writes, as fast as the disk takes them."""
    folder = os.environ.get("SERPENTRY_DATA") or os.environ["BENCH_DATA"]
    path = os.path.join(folder, "noise-%d" % os.getpid())
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        while time.monotonic() < until:
            os.pwrite(descriptor, BLOCK, 0)
            os.fsync(descriptor)
    finally:
        os.unlink(path)


def hog(until):
    while time.monotonic() < until:
        memory = mmap.mmap(-1, HOG_BYTES)
        for offset in range(0, HOG_BYTES, 4096):
            memory[offset] = 1
        memory.close()


def run_apart(function, seconds):
    """In a grandchild, which nobody waits for and which holds none of the worker's descriptors."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.closerange(3, 256)
            function(time.monotonic() + seconds)
    finally:
        os._exit(0)


def app(environ, start_response):
    """WSGI."""
    if environ["PATH_INFO"] == "/start":
        seconds = float(dict(parse_qsl(environ["QUERY_STRING"]))["seconds"])
        for function in [burn] * BURNERS + [sync, hog]:
            run_apart(function, seconds)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"done"]
