"""The test application of `serpentry drill`: every fault that an application can have, each at a path of its own.

`wsgi` and `asgi` are the same faults for both interfaces; only waiting differs (`/drill/block` waits as a careless
coroutine does). Standard library only. It does nothing by itself: a fault happens when its path is asked for, is bounded
by what the request says and by the constants below, and lets go of what it took. Never put it where others can reach it.

In a file of your own: `app = "serpentry_drill:wsgi"`, with `directory` where `serpentry drill --source` was written to.
"""

import asyncio
import ctypes
import itertools
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from urllib.parse import parse_qs

MIB = 1024 * 1024
# The longest that anything here is held, and the most memory, files and threads that are taken for one request.
LONGEST = 30.0
MOST_MEMORY = 1024 * MIB
MOST_FILES = 100_000
MOST_THREADS = 4096

DATA = os.environ.get("SERPENTRY_DATA") or tempfile.gettempdir()
# What the next boot does, and until when: it outlives this process.
BOOT = os.path.join(DATA, "serpentry-drill-boot")

KEPT = []
CACHE = {}
NUMBERS = itertools.count()
LOCK = threading.Lock()


def boot():
    """What was armed before happens now, unless its time is over."""
    try:
        with open(BOOT, encoding="ascii") as file:
            what, until = file.read().split()
    except (OSError, ValueError):
        return
    if time.time() > float(until):
        return
    if what == "raise":
        raise RuntimeError("the drill was asked to fail while it boots")
    os._exit(4)


class Question:
    """The query of a request."""

    def __init__(self, text):
        self.values = parse_qs(text)

    def number(self, name, default, most=float("inf")):
        return min(float(self.values.get(name, [default])[0]), most)

    def text(self, name, default=""):
        return self.values.get(name, [default])[0]


def hello(question):
    return 200, b"a test application of serpentry drill\n"


def wait(question):
    time.sleep(question.number("s", 1, LONGEST))
    return 200, b"waited\n"


def spin(question):
    """Computes, in Python, holding the interpreter's lock; so much CPU time, however long that takes."""
    until = time.thread_time() + question.number("ms", 50, LONGEST * 1000) / 1000
    while time.thread_time() < until:
        for _ in range(1000):
            pass
    return 200, b"computed\n"


def eat(question):
    """Takes memory, so much more or until it is killed."""
    eaten = []
    left = question.number("mib", MOST_MEMORY // MIB, MOST_MEMORY // MIB)
    while left > 0:
        eaten.append(b"x" * int(min(left, 4) * MIB))
        left -= 4
        time.sleep(0.005)
    time.sleep(question.number("s", 0, LONGEST))
    return 200, b"full\n"


def leak(question):
    KEPT.append(b"x" * int(question.number("kib", 32, 1024) * 1024))
    return 200, b"remembered\n"


def cache(question):
    key = question.text("key") or str(next(NUMBERS))
    if key not in CACHE:
        CACHE[key] = b"x" * int(question.number("kib", 32, 1024) * 1024)
    return 200, b"cached\n"


def fsync(question):
    """A log that is on the disk before the answer is."""
    with open(os.path.join(DATA, "serpentry-drill.log"), "ab") as file:
        for _ in range(int(question.number("times", 1, 100))):
            file.write(b"x" * int(question.number("bytes", 4096, MIB)))
            file.flush()
            os.fsync(file.fileno())
        if file.tell() > 4 * MIB:
            file.truncate(0)
    return 200, b"durable\n"


def deadlock(question):
    """The same lock twice."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return 200, b"impossible\n"


def upstream(question):
    """A server that takes connections and says nothing; the caller has no time limit."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"SELECT 1")
        client.recv(1)
    return 200, b"impossible\n"


def loop(question):
    """Waits in small steps, so that it can be interrupted."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        time.sleep(0.01)
    return 200, b"late\n"


def files(question):
    """Opens files until no more may be open."""
    taken = []
    try:
        while len(taken) < MOST_FILES:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        time.sleep(question.number("s", 1, LONGEST))
        return 500, f"{error}\n".encode()
    finally:
        for fd in taken:
            os.close(fd)
    return 200, b"there was no limit\n"


def threads(question):
    """Starts threads until no more may be started."""
    enough = threading.Event()
    started = []
    refused = None
    until = time.monotonic() + question.number("s", 1, LONGEST)
    try:
        while len(started) < MOST_THREADS and refused is None:
            thread = threading.Thread(target=enough.wait, args=(LONGEST,))
            try:
                thread.start()
                started.append(thread)
            except RuntimeError as error:
                refused = error
        while refused and time.monotonic() < until:
            time.sleep(0.05)
            try:
                threading.Thread(target=enough.wait, args=(LONGEST,)).start()
            except RuntimeError:
                pass
    finally:
        enough.set()
        for thread in started:
            thread.join()
    return (500, f"{refused}\n".encode()) if refused else (200, b"there was no limit\n")


def segv(question):
    ctypes.string_at(0)
    return 200, b"impossible\n"


def leave(question):
    os._exit(int(question.number("status", 3)))


def arm(question):
    """What the next boots do, for so many seconds."""
    with open(BOOT, "w", encoding="ascii") as file:
        file.write(f"{question.text('boot', 'raise')} {time.time() + question.number('s', 5, LONGEST)}")
    return 200, b"armed\n"


def throw(question):
    raise RuntimeError("the drill was asked to raise an exception")


def fill(question):
    """Writes until the volume is full."""
    path = os.path.join(DATA, "serpentry-drill-fill")
    written = 0
    try:
        with open(path, "wb") as file:
            while written < question.number("mib", 64, 1024) * MIB:
                written += file.write(b"x" * 65536)
                file.flush()
    except OSError as error:
        time.sleep(question.number("s", 1, LONGEST))
        return 500, f"{error}\n".encode()
    finally:
        os.unlink(path)
    return 200, b"there was no limit\n"


def write(question):
    """Writes past the cache, as a database does."""
    path = os.path.join(DATA, "serpentry-drill-write")
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        for _ in range(int(question.number("mib", 1, 64) * 4)):
            os.write(fd, b"x" * (MIB // 4))
            os.fsync(fd)
    finally:
        os.close(fd)
        os.unlink(path)
    return 200, b"written\n"


def flood(question):
    line = "x" * int(question.number("bytes", 200, 8000))
    for number in range(int(question.number("lines", 100_000, 2_000_000))):
        sys.stdout.write(f"{number} {line}\n")
    return 200, b"told\n"


def big(question):
    return 200, b"x" * int(question.number("mib", 1, 64) * MIB)


def broken(question):
    """Writes into the connection between worker and host, as a library does that closes descriptors it does not own."""
    os.write(3, b"\xff" * 64)
    time.sleep(LONGEST)
    return 200, b"impossible\n"


def short(question):
    return 200, b"short\n"


def pid(question):
    return 200, str(os.getpid()).encode()


FAULTS = {
    "/": hello,
    "/drill/arm": arm,
    "/drill/big": big,
    "/drill/block": wait,
    "/drill/broken": broken,
    "/drill/cache": cache,
    "/drill/deadlock": deadlock,
    "/drill/eat": eat,
    "/drill/exit": leave,
    "/drill/files": files,
    "/drill/fill": fill,
    "/drill/flood": flood,
    "/drill/fsync": fsync,
    "/drill/hello": hello,
    "/drill/leak": leak,
    "/drill/loop": loop,
    "/drill/pid": pid,
    "/drill/raise": throw,
    "/drill/segv": segv,
    "/drill/short": short,
    "/drill/spin": spin,
    "/drill/threads": threads,
    "/drill/upstream": upstream,
    "/drill/wait": wait,
    "/drill/write": write,
}


def nothing(question):
    return 404, b"there is no such fault\n"


def headers(fault, body):
    # A promise that is not kept.
    length = len(body) + 7 if fault is short else len(body)
    return [("Content-Type", "text/plain"), ("Content-Length", str(length))]


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    fault = FAULTS.get(path, nothing)
    environ["wsgi.input"].read()
    status, body = fault(Question(environ.get("QUERY_STRING", "")))
    start_response(f"{status} Drill", headers(fault, body))
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    fault = FAULTS.get(path, nothing)
    while (await receive()).get("more_body"):
        pass
    question = Question(scope["query_string"].decode("ascii"))
    if path == "/drill/wait":
        await asyncio.sleep(question.number("s", 1, LONGEST))
        fault = hello
    elif path == "/drill/loop":
        await asyncio.sleep(LONGEST)
    status, body = fault(question)
    fields = [(name.lower().encode(), value.encode()) for name, value in headers(fault, body)]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


logging.basicConfig(level=logging.INFO)
boot()
