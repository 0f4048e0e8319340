"""Applications that differ in their lifespan."""

import asyncio
import sys

left = []


async def ok(send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})


async def silent(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    await ok(send)


async def returns(scope, receive, send):
    if scope["type"] != "lifespan":
        await ok(send)


async def fails(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database\n" + "x" * 500_000})
    else:
        await ok(send)


async def slow_end(scope, receive, send):
    """Completes its startup and ends its lifespan at once."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
    else:
        await ok(send)


async def leaves_tasks(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    left.append(asyncio.create_task(forever()))
    await asyncio.sleep(0)
    await ok(send)


async def forever():
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        sys.stderr.write("task cancelled\n")
        raise
