"""What attempts have in common: errors by name, children whose end is looked at, raw system calls."""

import ctypes
import errno
import json
import os
import platform
import select
import signal
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
MACHINE = platform.machine()


class Absent(Exception):
    """This machine has nothing to attack; the text says what is missing."""


def attempt(function, *arguments):
    """Call it: {"got": True, "value"} or {"got": False, "errno", "error"}, or {"absent"}."""
    try:
        value = function(*arguments)
    except Absent as reason:
        told = {"errno": errno.errorcode[reason.__cause__.errno]} if isinstance(reason.__cause__, OSError) else {}
        return {"got": False, "absent": str(reason), **told}
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return {"got": False, "errno": name, "error": str(error)}
    return {"got": True, "value": value if isinstance(value, (int, float, str, list, dict, type(None))) else None}


def in_child(function, *arguments, seconds=10.0):
    """`attempt` in a child process, which may be killed for it ({"got": False, "signal"}) or hang ({"hung"})."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.write(writing, json.dumps(attempt(function, *arguments)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    data = b""
    deadline = time.monotonic() + seconds
    hung = False
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            hung = True
            os.kill(child, signal.SIGKILL)
            break
        piece = os.read(reading, 65536)
        if not piece:
            break
        data += piece
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if data:
        return json.loads(data)
    if hung:
        return {"got": False, "hung": True}
    if os.WIFSIGNALED(status):
        return {"got": False, "signal": signal.Signals(os.WTERMSIG(status)).name}
    return {"got": False, "status": os.waitstatus_to_exitcode(status)}


def syscall(number, *arguments):
    """A raw system call; raises OSError."""
    ctypes.set_errno(0)
    passed = [ctypes.c_long(it) if isinstance(it, int) else it for it in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *passed)
    if result == -1:
        raise_errno()
    return result


def call(name, *arguments):
    """A function of the C library that returns -1 with errno; raises OSError."""
    ctypes.set_errno(0)
    result = getattr(LIBC, name)(*arguments)
    if result == -1:
        raise_errno()
    return result


def raise_errno():
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def data_directory():
    """The application's writable directory, as the host says (before there were volumes: as the test says)."""
    return os.environ.get("SERPENTRY_DATA") or os.environ["TENANCY_DATA"]
