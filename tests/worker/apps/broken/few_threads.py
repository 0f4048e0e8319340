"""A process that may have only so many threads, as a limit on processes makes it."""

import threading

start = threading.Thread.start


def limited(thread: threading.Thread) -> None:
    if thread.name == "serpentry-2":
        raise RuntimeError("can't start new thread")
    start(thread)


threading.Thread.start = limited


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
