"""An application that can be made to run into each of its limits, or into its neighbours: `app` (WSGI).

    /burn?ms=N          computes so long (CPU time)
    /keep?kib=N         keeps so much, whatever is asked for
    /cache?kib=N&key=K  keeps so much for every K that it has not seen
    /fill               writes into its data directory until that is full; /empty removes it
    /start?count=N      starts so many processes that sleep, as far as it can; /end ends them
    /open?count=N       opens so many files, as far as it can; /close closes them
    /write?mib=N        writes so much to its directory, which stays in the page cache
    /large?mib=N        answers with so much
    /sync?mib=N         writes so much to its directory, past the page cache

Anything else: the answer alone. It answers what became of it, as JSON.
"""

import json
import os
import subprocess
import time
from urllib.parse import parse_qs

KEPT = []
CACHE = {}
CHILDREN = []
FILES = []
BLOCK = 1 << 20


def act(path, words):
    """What the path says."""
    number = {name: int(value) for name, value in words.items() if value.isdigit()}
    if path == "/burn":
        until = time.thread_time() + number["ms"] / 1e3
        while time.thread_time() < until:
            pass
    elif path == "/keep":
        KEPT.append(os.urandom(1024) * number["kib"])
    elif path == "/cache":
        if words["key"] not in CACHE:
            CACHE[words["key"]] = os.urandom(1024) * number["kib"]
    elif path == "/fill":
        return {"error": fill(filler())}
    elif path == "/empty":
        os.unlink(filler())
    elif path == "/start":
        return repeat(number["count"], lambda: CHILDREN.append(subprocess.Popen(["sleep", "60"])))
    elif path == "/end":
        for child in CHILDREN:
            child.kill()
            child.wait()
        CHILDREN.clear()
    elif path == "/open":
        return repeat(number["count"], lambda: FILES.append(os.open("/dev/null", os.O_RDONLY)))
    elif path == "/close":
        for file in FILES:
            os.close(file)
        FILES.clear()
    elif path == "/write":
        with open(filler(), "wb") as file:
            for _ in range(number["mib"]):
                file.write(bytes(BLOCK))
    elif path == "/sync":
        write_through(number["mib"])
    return {}


def filler():
    """The file that fills the data directory."""
    return os.path.join(os.environ["SERPENTRY_DATA"], "filler")


def fill(path):
    """Until it is full; the error."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(BLOCK))
        except OSError as error:
            return error.errno


def repeat(count, action):
    """As often as it works."""
    for done in range(count):
        try:
            action()
        except OSError as error:
            return {"done": done, "error": error.errno}
    return {"done": count}


def write_through(mib):
    """Each block is on the disk before the next."""
    path = filler()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
    try:
        for _ in range(mib):
            os.pwrite(descriptor, bytes(BLOCK), 0)
    finally:
        os.close(descriptor)


def app(environ, start_response):
    """WSGI."""
    words = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    answer = {"app": os.environ.get("NAME", ""), "pid": os.getpid(), **act(environ["PATH_INFO"], words)}
    data = json.dumps(answer).encode()
    if environ["PATH_INFO"] == "/large":
        data = bytes(BLOCK) * int(words["mib"])
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]
