"""An ASGI application that does to its event loop what the path says, for as many seconds as the query says."""

import asyncio
import ctypes
import json
import sys
import threading
import time


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    seconds = float(scope["query_string"] or b"0")
    await PAGES[scope["path"]](seconds)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"done"})


async def ready(seconds):
    pass


async def sleep(seconds):
    await asyncio.sleep(seconds)


async def block(seconds):
    time.sleep(seconds)  # first step


async def block_later(seconds):
    await asyncio.sleep(0.05)
    time.sleep(seconds)  # later step


def library(seconds):
    """Something that blocks in a function of the standard library which is written in Python."""
    event = threading.Event()
    event.wait(seconds)  # library


async def block_inside(seconds):
    library(seconds)


async def compute(seconds):
    """By the clock of the thread: what it waits for a processor is not its own doing, and not told as such."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        json.dumps([1, 2, 3])


async def hold(seconds):
    """A call of native code that does not release the interpreter lock, unlike one through CDLL."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # native


async def small(end):
    while time.monotonic() < end:
        time.sleep(0.002)
        await asyncio.sleep(0)


async def many(seconds):
    """A hundred tasks of many short steps: each turn of the loop takes longer than any threshold."""
    end = time.monotonic() + seconds
    await asyncio.gather(*(small(end) for _ in range(100)))


async def in_background(seconds):
    """Blocked by what is no request."""
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, time.sleep, seconds)


async def tampered(seconds):
    sys._current_frames = None
    time.sleep(seconds)  # tampered


PAGES = {"/": ready, "/sleep": sleep, "/block": block, "/block-later": block_later, "/inside": block_inside,
         "/compute": compute, "/hold": hold, "/many": many, "/background": in_background, "/tampered": tampered}
