"""One ASGI application for the worker's tests: the path chooses the behaviour."""

import asyncio
import inspect
import os
import sys
import time
import types

events = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    else:
        await PAGES[scope["path"]](scope, receive, send)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = "yes"
            await send({"type": "lifespan.startup.complete"})
        else:
            sys.stderr.write("shut down\n")
            await send({"type": "lifespan.shutdown.complete"})
            return


async def answer(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await answer(send, b"Hello, World!\n", headers=[(b"content-type", b"text/plain")])


async def dump(scope, receive, send):
    body = "".join(f"{key}={value!r}\n" for key, value in sorted(scope.items()))
    scope["state"]["mine"] = 1
    await answer(send, body.encode())


async def read_body(receive):
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionError("client left")
        body += event["body"]
        if not event["more_body"]:
            return body


async def echo(scope, receive, send):
    await answer(send, await read_body(receive))


async def task_echo(scope, receive, send):
    """receive() and send() as tasks and under wait_for."""
    first = await asyncio.create_task(receive())
    assert first["type"] == "http.request", first
    rest = b"" if not first["more_body"] else await asyncio.wait_for(read_body(receive), 5)
    await asyncio.ensure_future(send({"type": "http.response.start", "status": 200}))
    await asyncio.gather(send({"type": "http.response.body", "body": first["body"], "more_body": True}),
                         send({"type": "http.response.body", "body": rest}))


async def disconnect(scope, receive, send):
    """What receive() says after the body, after the response, and to several waiters at once."""
    seen = [(await receive())["type"]]
    waiters = [asyncio.create_task(receive()) for _ in range(2)]
    cancelled = asyncio.create_task(receive())
    await asyncio.sleep(0)
    cancelled.cancel()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    assert not any(waiter.done() for waiter in waiters)
    await send({"type": "http.response.body", "body": b"x"})
    seen += [(await waiter)["type"] for waiter in waiters]
    seen.append((await receive())["type"])
    sys.stderr.write(f"seen {seen}\n")
    sys.stderr.flush()


async def stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    for piece in (b"one", b"two"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})


async def large(scope, receive, send):
    size = int(scope["query_string"])
    await answer(send, b"x" * size, headers=[(b"content-length", b"%d" % size)])
    sys.stderr.write("large is out\n")
    sys.stderr.flush()


async def endless(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"y" * 1000, "more_body": True})
    except OSError as error:
        sys.stderr.write(f"{type(error).__name__} {error}\n")
        sys.stderr.flush()
        raise


async def background(scope, receive, send):
    await answer(send, b"early")
    await asyncio.sleep(0.05)
    sys.stderr.write("background\n")


async def raises(scope, receive, send):
    raise ValueError("no such\nthing")


async def raises_late(scope, receive, send):
    await answer(send, b"fine")
    raise ValueError("after the response")


async def raises_midway(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise KeyError("midway")


async def nothing(scope, receive, send):
    return


async def half(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})


def bad(*events):
    async def page(scope, receive, send):
        for event in events:
            await send(event)

    return page


def start(**fields):
    return {"type": "http.response.start", "status": 200} | fields


BODY = {"type": "http.response.body", "body": b"x"}


async def sleep(scope, receive, send):
    sys.stderr.write("sleeping\n")
    sys.stderr.flush()
    await asyncio.sleep(float(scope["query_string"] or 30))
    await answer(send, b"slept")


async def yielding_sleep(scope, receive, send):
    await asyncio.sleep(0)
    await block(scope, receive, send)


async def block(scope, receive, send):
    """Blocks the event loop."""
    sys.stderr.write("blocking\n")
    sys.stderr.flush()
    deadline = time.monotonic() + float(scope["query_string"] or 30)
    while time.monotonic() < deadline:
        time.sleep(0.002)
    await answer(send, b"blocked")


async def until(scope, receive, send):
    """Blocks the event loop until a file is there."""
    while not os.path.exists(scope["query_string"]):
        time.sleep(0.002)
    await answer(send, b"unblocked")


async def work(scope, receive, send):
    """Computes for 2 ms; then, if told so, waits for a moment."""
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end:
        sum(range(100))
    if scope["query_string"]:
        await asyncio.sleep(0.01)
    await answer(send, b"worked")


async def looks_at_its_task(scope, receive, send):
    """What asyncio, anyio and debuggers read of a task's coroutine."""
    task = asyncio.current_task()
    coroutine = task.get_coro()
    seen = [coroutine.__name__, coroutine.cr_frame is inspect.currentframe(), inspect.getcoroutinestate(coroutine),
            asyncio.iscoroutine(coroutine), inspect.isawaitable(coroutine), task.get_stack()[-1].f_code.co_name,
            "looks_at_its_task" in repr(task), hasattr(coroutine, "no_such_attribute")]
    await answer(send, repr(seen).encode())


async def closes(scope, receive, send):
    """Somebody closes the coroutine of the request; its task is resumed all the same, later."""
    coroutine = asyncio.current_task().get_coro()
    asyncio.get_running_loop().call_soon(coroutine.close)
    try:
        await asyncio.sleep(0.1)
    finally:
        sys.stderr.write(f"closed with {sys.exc_info()[0].__name__}\n")
        asyncio.get_running_loop().call_later(0.2, sys.stderr.write, "resumed\n")


async def stubborn(scope, receive, send):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await answer(send, b"cancelled")


# WebSockets


async def ws_echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0],
                "headers": [(b"x-a", b"b")]})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            sys.stderr.write(f"disconnect {event['code']} {event['reason']!r}\n")
            sys.stderr.flush()
            return
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "asked"})
            sys.stderr.write(f"then {(await receive())['code']}\n")
            return
        if event.get("text") == "raise":
            raise ValueError("told to")
        if event.get("text") == "return":
            return
        await send({"type": "websocket.send"} | {key: event[key] for key in ("text", "bytes") if key in event})


async def ws_brief(scope, receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "bye"})


async def ws_refuse(scope, receive, send):
    await send({"type": "websocket.close"})


async def ws_deny(scope, receive, send):
    assert "websocket.http.response" in scope["extensions"]
    await send({"type": "websocket.http.response.start", "status": 451, "headers": [(b"x-why", b"law")]})
    await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"here"})


async def ws_size(scope, receive, send):
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(len(event["bytes"]))})


async def ws_flood(scope, receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": b"z" * 200_000})
    sys.stderr.write("flooded\n")
    sys.stderr.flush()


PAGES = {
    "/": hello, "/dump": dump, "/mount/dump": dump, "/echo": echo, "/task-echo": task_echo, "/disconnect": disconnect,
    "/stream": stream, "/large": large, "/endless": endless, "/background": background, "/raises": raises,
    "/late": raises_late, "/midway": raises_midway, "/nothing": nothing, "/half": half, "/sleep": sleep,
    "/until": until, "/work": work, "/block": block, "/block-later": yielding_sleep, "/stubborn": stubborn,
    "/closes": closes,
    "/ws/echo": ws_echo, "/ws/refuse": ws_refuse, "/ws/deny": ws_deny, "/ws/size": ws_size, "/ws/flood": ws_flood,
    "/ws/brief": ws_brief, "/ws/nothing": nothing, "/ws/raises": raises,
    "/204": bad(start(status=204), BODY),
    "/bytearray": bad(start(), {"type": "http.response.body", "body": bytearray(b"array")}),
    "/too-many": bad(start(headers=[(b"content-length", b"3")]), {"type": "http.response.body", "body": b"12345"}),
    "/bad/order": bad(BODY), "/bad/twice": bad(start(), start()), "/bad/after": bad(start(), BODY, BODY),
    "/bad/type": bad({"type": "http.unknown"}), "/bad/no-dict": bad("text"), "/bad/status": bad(start(status="x")),
    "/bad/status-100": bad(start(status=100)),
    "/bad/body": bad(start(), {"type": "http.response.body", "body": "text"}),
    "/bad/value": bad(start(headers=[(b"x-a", b"a\r\nb: c")])), "/bad/str": bad(start(headers=[("x-a", "b")])),
    "/bad/pair": bad(start(headers=[b"x-a"])),
    "/bad/short": bad(start(headers=[(b"content-length", b"10")]), {"type": "http.response.body", "body": b"12345"}),
}


def plain(scope, receive, send):
    """Not a coroutine function: what it returns is awaited, whatever it is."""
    path = scope["path"]
    if path == "/task":
        assert asyncio.current_task() is not None, "it is called in its task"
        return looks_at_its_task(scope, receive, send)
    if path == "/raises":
        raise ValueError("when called")
    if path == "/number":
        return 5
    return GENERATORS[path](send)


@types.coroutine
def generator(send):
    yield from answer(send, b"from a generator").__await__()


@types.coroutine
def generator_that_waits(send):
    yield from asyncio.sleep(0.01).__await__()
    yield from generator(send)


class Future:
    def __init__(self, send):
        self.send = send

    def __await__(self):
        yield from generator_that_waits(self.send)


GENERATORS = {"/generator": generator, "/generator-that-waits": generator_that_waits, "/object": Future}
