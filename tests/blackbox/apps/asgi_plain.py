"""An ASGI application with one route per behaviour that test_asgi.py looks at. Standard library only.

WebSocket routes are in asgi_sockets.py, routes that break the specification in asgi_bad.py.
"""

import asyncio
import contextvars
import hashlib
import json
import os
from urllib.parse import parse_qs

from asgi_bad import BAD
from asgi_sockets import SOCKETS
from notes import note

PROGRESS = {"sent": 0, "raised": ""}
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def query(scope):
    return {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}


async def reply(send, value, status=200, headers=()):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def whole_body(receive):
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("client left before the body ended")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def shown(value):
    """JSON form of a scope value that keeps the difference between str and bytes."""
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, dict):
        return {key: shown(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(part) for part in value]
    return value if isinstance(value, (str, int, type(None))) else repr(value)


async def scope_(scope, receive, send):
    await reply(
        send,
        {
            "scope": shown(dict(scope)),
            "is dict": isinstance(scope, dict),
            "header pair types": sorted({type(part).__name__ for pair in scope["headers"] for part in pair}),
        },
    )


async def echo(scope, receive, send):
    await reply(send, await whole_body(receive))


async def messages(scope, receive, send):
    """The http.request messages as they came: [type, bytes, more_body]."""
    seen = []
    while True:
        message = await receive()
        seen.append([message["type"], len(message.get("body", b"")), message.get("more_body", False)])
        if not message.get("more_body", False):
            break
    await reply(send, seen)


async def disconnect_after(scope, receive, send):
    await whole_body(receive)
    await reply(send, "done")
    note(f"after response {(await receive())['type']}")


async def wait_disconnect(scope, receive, send):
    await whole_body(receive)
    note("waiting")
    note(f"left {(await receive())['type']} {(await receive())['type']}")


async def read_caught(scope, receive, send):
    note("reading")
    try:
        body = await whole_body(receive)
        note(f"whole body {len(body)}")
    except ConnectionError:
        note("body cut")
        return
    await reply(send, len(body))


async def producer(scope, receive, send):
    """Send ?mib= MiB as fast as `send` lets us, counting in PROGRESS."""
    PROGRESS.update(sent=0, raised="", done=False)
    chunk = b"x" * 65536
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(query(scope)["mib"]) * 16):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            PROGRESS["sent"] += len(chunk)
        await send({"type": "http.response.body", "body": b""})
    except Exception as error:
        PROGRESS["raised"] = type(error).__name__
    finally:
        PROGRESS["done"] = True
        note("producer ended")


async def progress(scope, receive, send):
    await reply(send, PROGRESS)


async def slow_reader(scope, receive, send):
    """Take one message, then wait for the go-ahead (event GO) before taking the rest."""
    first = await receive()
    note("first taken")
    await asyncio.wait_for(GO.wait(), 15)
    GO.clear()
    size, digest = len(first["body"]), hashlib.sha256(first["body"])
    more = first.get("more_body", False)
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    await reply(send, {"size": size, "sha256": digest.hexdigest()})


GO = asyncio.Event()


async def go(scope, receive, send):
    GO.set()
    await reply(send, "go")


async def lazy(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.wait_for(GO.wait(), 15)
    GO.clear()
    await send({"type": "http.response.body", "body": b"second"})


async def sleep(scope, receive, send):
    await asyncio.sleep(float(query(scope)["seconds"]))
    await reply(send, "slept")


async def background(scope, receive, send):
    await reply(send, "answered")
    await asyncio.sleep(0.2)
    note(f"background {query(scope)['tag']}")


async def contextvar(scope, receive, send):
    before = VARIABLE.get()
    VARIABLE.set(query(scope)["value"])
    await asyncio.sleep(0.02)
    await reply(send, [before, VARIABLE.get()])


async def cookies(scope, receive, send):
    await reply(
        send, "ok", headers=[(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"x-latin", b"caf\xe9")]
    )


async def status(scope, receive, send):
    """/status?code=204&body=...&length=...: any status with any body."""
    wanted = query(scope)
    headers = [(b"content-length", wanted["length"].encode())] if "length" in wanted else []
    await send({"type": "http.response.start", "status": int(wanted["code"]), "headers": headers})
    await send({"type": "http.response.body", "body": wanted.get("body", "").encode()})


async def pid(scope, receive, send):
    await reply(send, os.getpid())


async def loop_name(scope, receive, send):
    await reply(send, type(asyncio.get_running_loop()).__module__)


async def defaults(scope, receive, send):
    """Only what the specification requires: no headers key, no body key."""
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


async def pair_types(scope, receive, send):
    """Headers may be any iterable of two-item iterables of bytes."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": (pair for pair in ([b"x-a", b"1"], (b"x-b", b"2"))),
        }
    )
    await send({"type": "http.response.body", "body": b"ok"})


async def task_after(scope, receive, send):
    """A task of the application's own may go on sending after the first coroutine has been suspended."""

    async def speak():
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"from a task"})

    await asyncio.create_task(speak())


ROUTES = {
    "/scope": scope_,
    "/echo": echo,
    "/messages": messages,
    "/disconnect-after": disconnect_after,
    "/wait-disconnect": wait_disconnect,
    "/read-caught": read_caught,
    "/producer": producer,
    "/progress": progress,
    "/slow-reader": slow_reader,
    "/go": go,
    "/lazy": lazy,
    "/sleep": sleep,
    "/background": background,
    "/contextvar": contextvar,
    "/cookies": cookies,
    "/status": status,
    "/pid": pid,
    "/loop": loop_name,
    "/defaults": defaults,
    "/pair-types": pair_types,
    "/task-after": task_after,
}


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["from_lifespan"] = "value"
            scope["state"]["counter"] = []
            note("lifespan startup")
            await send({"type": "lifespan.startup.complete"})
        else:
            note("lifespan shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    if scope["type"] == "websocket":
        return await SOCKETS[scope["path"]](scope, receive, send)
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path.startswith("/bad/"):
        return await BAD[path[len("/bad/") :]](scope, receive, send)
    if path.startswith("/scope"):
        return await scope_(scope, receive, send)
    await ROUTES[path](scope, receive, send)
