"""What the tests of templates look at: what was there before the fork, and what came after it.

PRELOADED in the environment chooses something that is done while this is imported.
"""

import gc
import os
import random
import signal
import sys
import threading
import time

importer = os.getpid()
random.seed(1)
hooks = []
os.register_at_fork(
    before=lambda: hooks.append("before"),
    after_in_parent=lambda: hooks.append("parent"),
    after_in_child=lambda: hooks.append("child"),
)
mode = os.environ.get("PRELOADED", "")
if mode == "thread":
    threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
elif mode == "ignore-children":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
elif mode == "unflushed":
    sys.stdout.write("said once\n")
elif mode == "hook-dies":
    os.register_at_fork(after_in_child=lambda: os._exit(7))
elif mode == "raises":
    raise LookupError("no such shop")

PAGES = {
    "/who": lambda: f"{importer} {os.getpid()} {os.getppid()} {os.getsid(0)}",
    "/hooks": lambda: " ".join(hooks),
    "/random": lambda: str(random.random()),
    "/frozen": lambda: str(gc.get_freeze_count()),
    "/open": lambda: " ".join(sorted(map(target, os.listdir("/proc/self/fd")))),
    "/threads": lambda: " ".join(sorted(thread.name for thread in threading.enumerate())),
    "/print": lambda: print("from", os.getpid(), flush=True),
    "/sleep": lambda: (sys.stderr.write("sleeping\n"), sys.stderr.flush(), time.sleep(60)),
}


def target(number):
    """Number and kind of an open file, one word."""
    try:
        return f"{number}:{os.readlink(f'/proc/self/fd/{number}').partition(':')[0].replace(' ', '_')}"
    except OSError:
        return ""  # the listing itself


def app(environ, start_response):
    body = str(PAGES[environ["PATH_INFO"]]()).encode()
    start_response("200 OK", [])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["started by"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan ended in", os.getpid(), file=sys.stderr, flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    import asyncio

    loop = type(asyncio.get_running_loop()).__module__.split(".")[0]
    body = f"{importer} {os.getpid()} {scope['state'].get('started by')} {loop}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
