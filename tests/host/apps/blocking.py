"""Applications that stand in their own way: `app` (WSGI) and `asgi`. The path says how, `?seconds=` for how long."""

import ctypes
import os
import time
from urllib.parse import parse_qs


def act(path, query):
    seconds = float(parse_qs(query).get("seconds", ["0"])[0])
    if path == "/block":
        time.sleep(seconds)
    elif path == "/hold":
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    elif path == "/write":
        append(seconds)


def append(seconds):
    """Durable lines for so long; the disk is as slow as it is."""
    end = time.monotonic() + seconds
    with open(os.path.join(os.environ["FOLDER"], "journal"), "ab", buffering=0) as journal:
        while time.monotonic() < end:
            journal.write(b"x" * 4096)
            os.fsync(journal.fileno())


def app(environ, start_response):
    act(environ["PATH_INFO"], environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    act(scope["path"], scope["query_string"].decode())
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
