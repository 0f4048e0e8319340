"""One WSGI application for the worker's tests: the path chooses the behaviour."""

import os
import sys
import time
from threading import Event, get_ident

HELLO = b"Hello, World!\n"
released = Event()
calls = []


def app(environ, start_response):
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))])
    return [HELLO]


def dump(environ, start_response):
    body = "".join(f"{key}={value!r}\n" for key, value in sorted(environ.items()))
    start_response("200 OK", [])
    return [body.encode("latin-1", "backslashreplace")]


def thread(environ, start_response):
    start_response("200 OK", [])
    time.sleep(0.05)
    return [str(get_ident()).encode()]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def count(environ, start_response):
    total = 0
    while piece := environ["wsgi.input"].read(100_000):
        total += len(piece)
    start_response("200 OK", [])
    return [str(total).encode()]


def methods(environ, start_response):
    """Every reading method, in one answer."""
    stream = environ["wsgi.input"]
    parts = [stream.read(3), stream.readline(), stream.readline(2), stream.read(0), stream.readlines(4), list(stream),
             stream.read(), stream.readline(), stream.read(5)]
    start_response("200 OK", [])
    return [repr(parts).encode()]


def stream(environ, start_response):
    """Three pieces; the last waits for a second request to have been made, so nothing may be held back."""
    start_response("200 OK", [])

    def pieces():
        yield b"one"
        yield b""
        yield b"two"
        sys.stderr.write("two is out\n")
        yield b"three"

    return Closing(pieces())


def large(environ, start_response):
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(size))])
    return [b"x" * size]


def endless(environ, start_response):
    start_response("200 OK", [])

    def pieces():
        while True:
            yield b"y" * 1000

    return Closing(pieces())


class Closing:
    """An iterable that says when it was closed."""

    def __init__(self, pieces):
        self.pieces = pieces

    def __iter__(self):
        return self.pieces

    def close(self):
        sys.stderr.write("closed\n")
        sys.stderr.flush()


def writer(environ, start_response):
    write = start_response("200 OK", [])
    write(b"written ")
    write(b"")
    return [b"and returned"]


def pair(environ, start_response):
    start_response("201 Made here", [("X-Name", "caf\xe9")])
    return (b"a", b"b")


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def has_body_anyway(environ, start_response):
    start_response("304 Not Modified", [("Content-Length", "5")])
    return [b"12345"]


def replaced(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    try:
        raise ValueError("changed my mind")
    except ValueError:
        start_response("500 Oops", [("X-Second", "2")], sys.exc_info())
    return [b"sorry"]


def too_late(environ, start_response):
    write = start_response("200 OK", [])
    write(b"begun")
    try:
        raise ValueError("after the head was sent")
    except ValueError:
        start_response("500 Oops", [], sys.exc_info())
    return [b"never"]


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def wrapped(environ, start_response):
    with open(__file__, "rb") as file:
        size = len(file.read())
    start_response("200 OK", [("Content-Length", str(size))])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"), 512)


def stated(environ, start_response):
    """What Flask and Django do: an iterable that is no list, with a Content-Length."""
    start_response("200 OK", [("Content-Length", "6")])
    return Closing(iter([b"abc", b"def"]))


def fork(environ, start_response):
    """Leaves a child behind that outlives the worker."""
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]


def fork_returns(environ, start_response):
    """A child that comes back from the application instead of ending."""
    os.fork()
    return hello(environ, start_response)


def raises(environ, start_response):
    raise ValueError("no such\nthing")


def raises_midway(environ, start_response):
    start_response("200 OK", [])

    def pieces():
        yield b"begun"
        raise KeyError("midway")

    return Closing(pieces())


def exits(environ, start_response):
    sys.exit(3)


def no_start(environ, start_response):
    return [b"body"]


def bad(status="200 OK", headers=(), body=(b"x",)):
    def page(environ, start_response):
        start_response(status, list(headers))
        return list(body)

    return page


def too_few(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    return [b"12345"]


def too_many(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"12", b"345"]


def sleep(environ, start_response):
    """Sleeps in steps, as an exception raised in a thread is only seen between bytecodes."""
    sys.stderr.write("sleeping\n")
    sys.stderr.flush()
    deadline = time.monotonic() + float(environ["QUERY_STRING"] or 30)
    while time.monotonic() < deadline:
        time.sleep(0.002)
    start_response("200 OK", [])
    return [b"slept"]


def stubborn(environ, start_response):
    """Survives its interruption and answers."""
    try:
        return sleep(environ, start_response)
    except BaseException as error:
        start_response("200 OK", [])
        return [type(error).__name__.encode()]


def wait(environ, start_response):
    """Waits until /release is called; for workers with threads."""
    assert released.wait(10)
    start_response("200 OK", [])
    return [b"released"]


def read_then_wait(environ, start_response):
    """Reads its body, then waits until /release is called."""
    body = environ["wsgi.input"].read()
    sys.stderr.write("read\n")
    sys.stderr.flush()
    assert released.wait(10)
    start_response("200 OK", [])
    return [body]


def release(environ, start_response):
    released.set()
    return hello(environ, start_response)


PAGES = {
    "/": hello, "/dump": dump, "/caf\xc3\xa9": dump, "/thread": thread, "/echo": echo, "/count": count,
    "/methods": methods, "/stream": stream, "/large": large, "/endless": endless, "/write": writer, "/pair": pair,
    "/empty": empty, "/304": has_body_anyway, "/replaced": replaced, "/too-late": too_late, "/twice": twice,
    "/file": wrapped, "/raises": raises, "/midway": raises_midway, "/exits": exits, "/no-start": no_start,
    "/too-few": too_few, "/too-many": too_many, "/sleep": sleep, "/stubborn": stubborn, "/wait": wait,
    "/read-then-wait": read_then_wait, "/release": release, "/stated": stated, "/fork": fork,
    "/fork-returns": fork_returns,
    "/bad/status": bad("200OK"), "/bad/status-type": bad(200), "/bad/status-100": bad("100 Continue"),
    "/bad/status-lf": bad("200 O\nK"), "/bad/status-long": bad("200 " + "x" * 2000),
    "/bad/many": bad(headers=[("a", "b")] * 40_000),
    "/bad/value": bad(headers=[("X-A", "a\r\nB: c")]), "/bad/name": bad(headers=[("X A", "a")]),
    "/bad/bytes": bad(headers=[(b"X-A", b"a")]),
    "/bad/latin": bad(headers=[("X-A", "\u20ac")]), "/bad/str": bad(body=["text"]),
    "/bad/pair": bad(headers=[("X-A", "a", "b")]), "/bad/length": bad(headers=[("Content-Length", "x")]),
}
