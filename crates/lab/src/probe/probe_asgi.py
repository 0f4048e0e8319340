"""The laboratory's ASGI application: the same routes as probe_wsgi.py. Waiting is awaited; everything else blocks the loop,
as it does in an application whose author did not think of it. Routes and bounds are in probe_work.py.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import probe_work as work

# As many as AnyIO has, and with it every framework that runs plain functions beside its loop.
POOL_THREADS = 40

_pool = None


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] != "http":
        raise RuntimeError(f"the probe application does not speak {scope['type']}")
    path = scope["path"] or "/"
    try:
        given = work.parse(path, scope["query_string"].decode("latin-1"))
    except KeyError:
        return await respond(send, 404, f"the probe application knows {' '.join(work.BOUNDS)}\n")
    except work.BadRequest as error:
        return await respond(send, 400, f"{error}\n")
    if path == "/big":
        return await big(send, work.pieces(given))
    work.begin()
    try:
        status, text = 200, await run(path, given)
    except work.BadRequest as error:
        status, text = 507, f"{error}\n"
    work.finish()
    await respond(send, status, text)


async def lifespan(receive, send):
    while True:
        kind = (await receive())["type"]
        await send({"type": kind + ".complete"})
        if kind == "lifespan.shutdown":
            return


async def run(path, given):
    if path == "/cpu":
        return f"{work.cpu(given['ms']):.3f}\n"
    if path == "/io":
        await wait(given["ms"] / 1e3, given["pool"])
        return "waited\n"
    if path == "/hold":
        await asyncio.sleep(given["s"])
        return "held\n"
    if path == "/log":
        await wait(given["ms"] / 1e3, 0)
        return f"{work.log(given['fsync'], given['to']):.3f}\n"
    if path == "/file":
        return f"{work.file(given['kb'])}\n"
    if path == "/mem":
        memory = work.touched(given["mb"] << 20)
        await asyncio.sleep(given["ms"] / 1e3)
        return f"{len(memory)}\n"
    if path == "/leak":
        return f"{work.leak(given['kb'], given['clear'])}\n"
    if path == "/pid":
        return work.status() + "\n"
    return "probe\n"


async def wait(seconds, pool):
    global _pool
    if not pool:
        return await asyncio.sleep(seconds)
    if _pool is None:
        _pool = ThreadPoolExecutor(POOL_THREADS)
    await asyncio.get_running_loop().run_in_executor(_pool, time.sleep, seconds)


async def respond(send, status, text):
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def big(send, pieces):
    size = str(sum(map(len, pieces))).encode()
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
