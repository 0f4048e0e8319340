"""Work of a known kind, for the tests of what requests take: WSGI in `wsgi`, ASGI in `asgi`."""

import asyncio
import threading
import time

busy = threading.Event()


def burn(seconds):
    """Compute for so much CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [])
    if path == "/late":
        return Late()
    if path == "/stream":
        return iter([b"a", b"b"])
    if path == "/hog":
        busy.set()
    PAGES[path]()
    return [b"done"]


class Late:
    """Works in `close`, after its whole body was taken."""

    def __iter__(self):
        return iter([b"body"])

    def close(self):
        burn(0.03)


def fail():
    burn(0.03)
    raise ValueError("after some work")


PAGES = {
    "/hello": lambda: None,
    "/burn": lambda: burn(0.03),
    "/sleep": lambda: time.sleep(0.06),
    "/both": lambda: (burn(0.03), time.sleep(0.06)),
    "/hog": lambda: burn(0.4),
    "/fail": fail,
}


class Awaitable:
    """What is awaited need not be a coroutine."""

    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()


async def asgi_page(scope, receive, send):
    path = scope["path"]
    if path == "/burn":
        burn(0.03)
    elif path == "/steps":
        for _ in range(3):
            burn(0.01)
            await asyncio.sleep(0.02)
    elif path == "/sleep":
        await asyncio.sleep(0.06)
    elif path == "/cancelled":
        try:
            await asyncio.wait_for(asyncio.sleep(10), 0.01)
        except asyncio.TimeoutError:
            burn(0.02)
    elif path == "/fail":
        await asyncio.sleep(0.001)
        burn(0.03)
        raise ValueError("after some work")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
    if path == "/after":
        await asyncio.sleep(0.01)
        burn(0.03)


def asgi(scope, receive, send):
    coroutine = asgi_page(scope, receive, send)
    return Awaitable(coroutine) if scope["path"].startswith("/burn") and scope["query_string"] else coroutine


async def returns_nothing(scope, receive, send):
    return None


def not_awaitable(scope, receive, send):
    return None
