"""What the probe applications do when they are asked to. Standard library only; no knowledge of WSGI or ASGI.

Every parameter is a number with bounds; a value outside them is an error and never a larger amount of work. Nothing here
is meant for anybody but the laboratory: the routes use up the machine on purpose.
"""

import os
import tempfile
import time

# Name: (default, lowest, highest). The bounds of one request.
BOUNDS = {
    "/cpu": {"ms": (10.0, 0.0, 5_000.0)},
    "/io": {"ms": (10.0, 0.0, 30_000.0), "pool": (0, 0, 1)},
    "/log": {"fsync": (0, 0, 1), "ms": (0.0, 0.0, 30_000.0), "to": (0, 0, 2)},
    "/file": {"kb": (64, 1, 65_536)},
    "/mem": {"mb": (1, 0, 1_024), "ms": (0.0, 0.0, 30_000.0)},
    "/leak": {"kb": (64, 0, 65_536), "clear": (0, 0, 1)},
    "/hold": {"s": (1.0, 0.0, 120.0)},
    "/big": {"mb": (1, 0, 64), "kb": (0, 0, 1_024)},
    "/pid": {},
    "/": {},
}
# What all leaks of a process keep, at most: more than any limit that the laboratory sets.
MOST_LEAKED = 2 << 30
# The log starts again at this size.
LOG_BYTES = 16 << 20
LINE = b'127.0.0.1 - - "GET /log HTTP/1.1" 200 18 "-" "a line of a usual length, no more and no less"\n'
CHUNK = bytes(64 * 1024)
PAGE = 4_096

_leaked = []
_leaked_bytes = 0
_begun = 0
_finished = 0


class BadRequest(Exception):
    """The text is for whoever sent the request."""


def parse(path, query):
    """Parameters of a route with their values. `query` is text. Raises KeyError for an unknown route."""
    allowed = BOUNDS[path]
    found = {name: default for name, (default, _, _) in allowed.items()}
    for part in query.split("&") if query else ():
        name, _, text = part.partition("=")
        if name not in allowed:
            raise BadRequest(f"{path} has no parameter {name[:40]!a}; it knows {', '.join(allowed) or 'none'}")
        default, low, high = allowed[name]
        try:
            value = type(default)(text)
        except ValueError:
            raise BadRequest(f"{name} must be a number, not {text[:40]!a}") from None
        # Also refuses what is not a number at all (nan).
        if not low <= value <= high:
            raise BadRequest(f"{name} must be from {low} to {high}")
        found[name] = value
    return found


def begin():
    global _begun
    _begun += 1


def finish():
    global _finished
    _finished += 1


def cpu(ms):
    """Burn so much processor time of this thread, whatever it has to wait for in between. Milliseconds really used."""
    start = time.thread_time_ns()
    end = start + int(ms * 1e6)
    total = 0
    while time.thread_time_ns() < end:
        # About 10 us: the clock costs little beside it, and the amount is met closely.
        for i in range(200):
            total += i * i
    return (time.thread_time_ns() - start) / 1e6


def log(fsync, to=0):
    """Append one line to a log: 0 in the working directory, 1 in the application's data, 2 into the pipe that is its standard
    error; and wait for the disk if asked to. Milliseconds that the disk, or the pipe, took."""
    if to == 2:
        start = time.perf_counter()
        os.write(2, LINE)
        return (time.perf_counter() - start) * 1e3
    directory = os.environ.get("SERPENTRY_DATA", ".") if to else "."
    fd = os.open(os.path.join(directory, "probe.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.fstat(fd).st_size > LOG_BYTES:
            os.ftruncate(fd, 0)
        os.write(fd, LINE)
        start = time.perf_counter()
        if fsync:
            os.fsync(fd)
        return (time.perf_counter() - start) * 1e3
    finally:
        os.close(fd)


def file(kb, directory="."):
    """Write a file and read it again. Nothing is left."""
    with tempfile.TemporaryFile(dir=directory) as stream:
        for _ in range(kb // 64):
            stream.write(CHUNK)
        stream.write(CHUNK[: kb % 64 * 1024])
        stream.seek(0)
        size = 0
        while piece := stream.read(len(CHUNK)):
            size += len(piece)
        return size


def touched(size):
    """So many bytes of memory that is really there."""
    memory = bytearray(size)
    for at in range(0, size, PAGE):
        memory[at] = 1
    return memory


def leak(kb, clear):
    """Keep more memory until the process ends. Bytes kept so far."""
    global _leaked_bytes
    if clear:
        _leaked.clear()
        _leaked_bytes = 0
    size = kb * 1024
    if _leaked_bytes + size > MOST_LEAKED:
        raise BadRequest(f"{_leaked_bytes} bytes have leaked; no more than {MOST_LEAKED} may")
    _leaked.append(touched(size))
    _leaked_bytes += size
    return _leaked_bytes


def pieces(given):
    """An answer of this size."""
    size = (given["mb"] << 20) + (given["kb"] << 10)
    return [CHUNK] * (size // len(CHUNK)) + ([CHUNK[: size % len(CHUNK)]] if size % len(CHUNK) else [])


def status():
    return (
        f'{{"pid":{os.getpid()},"cpu_seconds":{time.process_time():.6f},"begun":{_begun},'
        f'"finished":{_finished},"leaked_bytes":{_leaked_bytes}}}'
    )
