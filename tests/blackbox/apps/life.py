"""Applications that sleep, hang, die and leave notes. WSGI, ASGI and a factory of each."""

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path
from urllib.parse import parse_qs

from notes import note


def die(how):
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)


def runs_of(tag):
    path = Path(os.environ["EVENTS"])
    return path.read_text().splitlines().count(f"run {tag}") if path.exists() else 0


def act(method, path, query):
    """What both applications do; returns the body."""
    if path == "/pid":
        return str(os.getpid())
    if path == "/run":
        note(f"run {query['tag']}")
        time.sleep(float(query.get("seconds", "0")))
        return query["tag"]
    if path == "/die":
        note(f"run {query['tag']}")
        die(query["how"])
    if path == "/die-once":
        note(f"run {query['tag']}")
        if runs_of(query["tag"]) == 1:
            die(query["how"])
        return "survived"
    return "ok"


def hang(how, tag):
    """Never ends by itself: in Python an exception can end it, in C only the end of the process."""
    note(f"hangs {tag}")
    if how == "c":
        ctypes.CDLL(None).sleep(600)
    if how == "c-with-gil":
        ctypes.PyDLL(None).sleep(600)
    try:
        while True:
            time.sleep(0.01)
    except BaseException as error:
        note(f"hang {tag} ended by {type(error).__name__}")
        raise


def wsgi(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"]
    if path == "/hang":
        hang(query["how"], query["tag"])
    if path == "/hang-midway":
        start_response("200 OK", [])
        return hang_midway(query["tag"])
    if path == "/sleep":
        note("sleeping")
        time.sleep(float(query["seconds"]))
    body = act(environ["REQUEST_METHOD"], path, query).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def hang_midway(tag):
    yield b"first"
    hang("python", tag)


async def cancelled(tag):
    note(f"hangs {tag}")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        note(f"cancelled {tag}")
        raise


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            await send({"type": (await receive())["type"] + ".complete"})
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    path = scope["path"]
    if path == "/hang":
        if query["how"] == "await":
            await cancelled(query["tag"])
        hang(query["how"], query["tag"])
    if path == "/sleep":
        note("sleeping")
        await asyncio.sleep(float(query["seconds"]))
    if path == "/run":
        note(f"run {query['tag']}")
        await asyncio.sleep(float(query.get("seconds", "0")))
        body = query["tag"].encode()
    else:
        body = act(scope["method"], path, query).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


def make_wsgi():
    return wsgi


def make_asgi():
    return asgi


class Callable:
    """An ASGI application that is an object, as the frameworks' are."""

    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)


asgi_object = Callable()
not_an_application = 42


def wrong_arity(only_one):
    return only_one
