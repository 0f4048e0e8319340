"""Work of a known kind by path, as WSGI (`app`) and ASGI (`asgi`): /burn/MS computes, /sleep/MS waits."""

import asyncio
import time


def burn(seconds):
    """Compute for so much CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))


def amount(path):
    _, kind, milliseconds, *_ = path.split("/") + ["", ""]
    return kind, (float(milliseconds) / 1000 if milliseconds.replace(".", "", 1).isdigit() else 0)


def app(environ, start_response):
    kind, seconds = amount(environ["PATH_INFO"])
    if kind == "burn":
        burn(seconds)
    elif kind == "sleep":
        time.sleep(seconds)
    status = "404 Not Found" if kind == "missing" else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Server-Timing", "db;dur=1")])
    return [b"done"]


async def asgi(scope, receive, send):
    kind, seconds = amount(scope["path"])
    if kind == "burn":
        burn(seconds)
    elif kind == "sleep":
        await asyncio.sleep(seconds)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"server-timing", b"db;dur=1")]})
    await send({"type": "http.response.body", "body": b"done"})
