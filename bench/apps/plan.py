"""A small shop whose requests compute and wait for random times: what bench/plan.py plans for. `wsgi` and `asgi` do the same.

Processor time is spent by the thread's own clock, so that a request needs the same on a busy machine. Waiting is a sleep, as if for
a database.
"""

import asyncio
import random
import threading
import time

# Route: mean processor time and mean waiting, in seconds, and how often a request waits.
ROUTES = {
    "/page": (0.0015, 0.008, 1),
    "/search": (0.003, 0.030, 2),
    "/report": (0.012, 0.040, 1),
}
_local = threading.local()


def needs(path):
    """Processor time of each part, each wait; none for an unknown route."""
    if path not in ROUTES:
        return None
    compute, wait, times = ROUTES[path]
    if not hasattr(_local, "random"):
        _local.random = random.Random()
    draw = _local.random.gammavariate
    # Gamma with shape 2: variable, and not exponential.
    return draw(2.0, compute / 2.0) / (times + 1), draw(2.0, wait / 2.0) / times, times


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def wsgi(environ, start_response):
    needed = needs(environ["PATH_INFO"])
    if needed is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"unknown\n"]
    part, wait, times = needed
    compute(part)
    for _ in range(times):
        time.sleep(wait)
        compute(part)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done\n"]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    needed = needs(scope["path"])
    if needed is not None:
        part, wait, times = needed
        compute(part)
        for _ in range(times):
            await asyncio.sleep(wait)
            compute(part)
    status = 404 if needed is None else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"done\n"})
