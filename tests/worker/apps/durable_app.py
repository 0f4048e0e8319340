"""Applications that wait for the disk: `app` (WSGI) and `asgi`. The path says by what, the query how often."""

import inspect
import logging
import mmap
import os
import pickle
import tempfile
import threading
import time

FILE = tempfile.TemporaryFile()
KEPT = []


class DurableHandler(logging.FileHandler):
    def emit(self, record):
        super().emit(record)
        os.fsync(self.stream.fileno())  # in the handler


LOG = logging.getLogger("durable")
LOG_FILE = tempfile.NamedTemporaryFile()
LOG.addHandler(DurableHandler(LOG_FILE.name))


def write():
    FILE.write(b"x")
    os.fdatasync(FILE.fileno())  # in a function


def flush_mapped(seconds):
    """Durable writes that Python knows nothing of: msync of a mapped file."""
    with tempfile.NamedTemporaryFile(dir=os.environ.get("DISK")) as file:
        file.truncate(16 << 20)
        with mmap.mmap(file.fileno(), 16 << 20) as mapped:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                mapped[:] = os.urandom(4096) * 4096
                mapped.flush()  # mapped


def same(name):
    """What an application may find out about the functions."""
    function = getattr(os, name)
    errors = []
    for arguments in ((), (1, 2), ("x",), (-1,)):
        try:
            function(*arguments)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    facts = [function.__name__, function.__module__, str(inspect.signature(function)), function(fd=FILE.fileno()),
             type(function).__name__, pickle.loads(pickle.dumps(function)) is function, function(FILE), *errors]

    class Holder:
        sync = function

    Holder().sync(FILE.fileno())  # a built-in function is not bound
    return repr(facts)


def grow(count):
    for _ in range(count):
        KEPT.append(bytearray(4096))  # grows


def act(path, count):
    if path == "/same":
        return same("fsync") + same("fdatasync")
    if path == "/mapped":
        flush_mapped(float(count))
        return "ok"
    for _ in range(int(count or 0)):
        if path == "/write":
            write()
        elif path == "/log":
            LOG.error("a line")
        elif path == "/elsewhere":
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
        elif path == "/work":
            time.sleep(0.01)
        elif path == "/grow":
            grow(1)
    return "ok"


def app(environ, start_response):
    body = act(environ["PATH_INFO"], environ["QUERY_STRING"]).encode()
    start_response("200 OK", [])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    body = act(scope["path"], scope["query_string"].decode()).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})
