"""Hogs of things that are counted: processes, threads, descriptors. Each stops at `count`."""

import errno
import os
import resource
import signal
import threading
import time

from attempts import attempt


def fork_bomb(arguments):
    """Fork until it fails; the children live for `hold` seconds, then all are killed and waited for."""
    children = []
    limit, hold = int(arguments["count"]), float(arguments.get("hold", "0.3"))

    def fork():
        while len(children) < limit:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)

    try:
        answer = attempt(fork)
        time.sleep(hold)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
    return {**answer, "children": len(children), "tasks": tasks_with_us() + len(children)}


def orphan_bomb(arguments):
    """The same with grandchildren that nobody waits for: they are init's, and outlive the request."""
    limit = int(arguments["count"])

    def fork():
        for _ in range(limit):
            child = os.fork()
            if child == 0:
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(float(arguments.get("hold", "2")))
                os._exit(0)
            os.waitpid(child, 0)

    # A child whose own fork fails ends by an exception of its own, so the number is what counts.
    return attempt(fork)


def thread_bomb(arguments):
    """Start threads until it fails."""
    limit, hold = int(arguments["count"]), float(arguments.get("hold", "0.3"))
    stop = threading.Event()
    started = []
    error = ""
    before = tasks_with_us()
    try:
        while len(started) < limit:
            thread = threading.Thread(target=stop.wait, args=(60,), daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as failed:
        error = str(failed)
    time.sleep(hold)
    stop.set()
    for thread in started:
        thread.join()
    return {
        "got": not error,
        "errno": "EAGAIN" if error else "",
        "threads": len(started),
        "tasks": before + len(started),
    }


def tasks_with_us():
    """Tasks of this process: Python's and the worker's own."""
    return len(os.listdir("/proc/self/task"))


def descriptors(arguments):
    """Open files until it fails; `open` counts all that this process had open then."""
    limit = int(arguments["count"])
    opened = []

    def take():
        while len(opened) < limit:
            opened.append(os.open("/dev/null", os.O_RDONLY))

    answer = attempt(take)
    highest = max(opened, default=0)
    for descriptor in opened:
        os.close(descriptor)
    return {**answer, "opened": len(opened), "highest": highest}


def set_limit(which, limits):
    """setrlimit, whose refusal Python words as a ValueError."""
    try:
        resource.setrlimit(which, limits)
    except ValueError as error:
        raise PermissionError(errno.EPERM, str(error)) from error


def raise_limits(arguments):
    """Raise its own hard limits of files and processes."""
    found = {}
    for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC"):
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        more = 1 << 19 if hard == resource.RLIM_INFINITY else hard + 1
        answer = attempt(set_limit, which, (more, more))
        if not answer["got"]:
            answer.pop("error", None)
        found[name] = answer
        attempt(set_limit, which, (soft, hard))
    return {"got": found["RLIMIT_NOFILE"]["got"], "limits": found}


ATTACKS = {
    "fork_bomb": fork_bomb,
    "orphan_bomb": orphan_bomb,
    "thread_bomb": thread_bomb,
    "descriptors": descriptors,
    "raise_limits": raise_limits,
}
