"""What a template process does in Python: get ready to be forked, and leave nothing half written when it is.

The fork itself and the waiting for orders are the extension's.
"""

from __future__ import annotations

import gc
import os
import sys
import threading

from serpentry_support import report_line


def settle(asgi: bool, loop: str) -> None:
    """After the import: have in memory what every worker needs, and keep the collector from touching it.

    A collection writes to the header of every object it looks at, and each write copies a page that was shared. After
    gc.freeze() the collector leaves alone what was there before the fork (documentation of the gc module).
    """
    if asgi and loop != "asyncio":
        try:
            import uvloop  # noqa: F401  (the loop itself is made after the fork)
        except ImportError:
            pass  # the worker says it if uvloop was asked for
    warn_of_threads()
    gc.collect()
    gc.freeze()


def warn_of_threads() -> None:
    """A fork copies the thread that forks and no other."""
    try:
        count = len(os.listdir("/proc/self/task"))
    except OSError:
        count = threading.active_count()
    if count < 2:
        return
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    known = f" ({', '.join(names)})" if names else ""
    report_line(
        f"serpentry worker: the application started {count - 1} thread{'s' if count > 2 else ''}{known} while it was"
        " imported: a fork copies only the main thread, so they do not run in the workers, and a lock that one of them"
        " holds at that moment stays locked there for ever; start them with os.register_at_fork(after_in_child=...) or"
        " switch preload off"
    )


def flush() -> None:
    """What is still in these buffers would be written once by every fork."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the application has closed or replaced it
