"""Applications whose own code runs in the middle of the worker's: iterators, finalizers, the collector's callbacks."""

import asyncio
import gc
import sys
import threading
import time


def say(word):
    sys.stderr.write(word + "\n")
    sys.stderr.flush()


def rest(seconds):
    """In short steps, so that an exception can be raised in between; each gives the interpreter lock away."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.002)


async def app(scope, receive, send):
    await PAGES[scope["path"]](scope, receive, send)


async def answer(send, body=b"fine"):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await answer(send)


def slow_headers():
    say("headers")
    rest(30)
    yield b"x-a", b"b"


async def headers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": slow_headers()})


async def accept(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept", "headers": slow_headers()})


async def send_in_headers(scope, receive, send):
    """The inner event is the first that is complete."""

    def headers():
        say(type(send({"type": "http.response.start", "status": 201})).__name__)
        yield b"x-a", b"b"

    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers()})
    except RuntimeError as error:
        await send({"type": "http.response.body", "body": str(error).encode()})


async def accept_in_headers(scope, receive, send):
    def headers():
        send({"type": "websocket.accept"})
        yield b"x-a", b"b"

    await receive()
    try:
        await send({"type": "websocket.accept", "headers": headers()})
    except RuntimeError as error:
        await send({"type": "websocket.send", "text": str(error)})


async def collector(scope, receive, send):
    """Up to CPython 3.11 garbage is collected in the very call that makes an object."""
    inside = False

    def pause(phase, info):
        if inside:
            time.sleep(0.02)

    before, kept = gc.get_threshold(), []
    gc.callbacks.append(pause)
    gc.set_threshold(1)
    try:
        say("collecting")
        more = True
        while more:
            # No dictionary is left that could be used again, and the next one is one too many: the event, inside of `receive`.
            kept += [{} for _ in range(100)]
            while gc.get_count()[0] < 1:
                kept.append({})
            inside = True
            event = receive()
            inside = False
            more = (await event)["more_body"]
            await asyncio.sleep(0.001)
        await answer(send)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(pause)


class Last(bytes):
    """Calls back when it is not needed any more."""

    def __del__(self):
        self.callback()


async def finalizer(scope, receive, send):
    body = Last(b"x" * 50_000)
    body.callback = lambda: say(f"gone, {type(receive()).__name__}")
    await send({"type": "http.response.start", "status": 200})
    event = {"type": "http.response.body", "body": body}
    sent = send(event)
    del body, event
    await sent


class Guard:
    def __init__(self, callback):
        self.callback = callback

    def __del__(self):
        self.callback()


async def traceback(scope, receive, send):
    """What an exception keeps alive ends with it."""

    def gone():
        say(f"gone, {type(receive()).__name__}")

    guard = Guard(gone)
    say("waiting")
    while guard:
        await receive()


class SlowTask(asyncio.Task):
    """Takes its time to be made. It has taken its first step then if tasks start eagerly."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        # asyncio makes one for itself.
        if type(arguments[0]).__name__ == "Steps":
            say("made")
            rest(0.3)


def slow_tasks():
    """The application, with such tasks."""
    asyncio.Task = asyncio.tasks.Task = SlowTask
    return app


async def waits(scope, receive, send):
    await asyncio.sleep(30)


class SlowLog:
    """Somebody else may run while it writes."""

    def __init__(self, log):
        self.log, self.began = log, threading.Event()

    def write(self, text):
        self.log.write(text)
        self.began.set()
        rest(0.2)

    def flush(self):
        self.log.flush()


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/":
        start_response("200 OK", [])
        return [b"fine"]
    write = start_response("200 OK", [("Content-Length", "3")])
    log = sys.stderr = SlowLog(sys.stderr)

    def intrude():
        # The worker tells the log that five bytes are too many.
        log.began.wait()
        write(b"too late")
        sys.stderr = log.log
        say("written")

    threading.Thread(target=intrude, daemon=True).start()
    return [b"12345"]


PAGES = {"/": hello, "/headers": headers, "/accept": accept, "/send-in-headers": send_in_headers,
         "/accept-in-headers": accept_in_headers, "/collector": collector, "/finalizer": finalizer,
         "/traceback": traceback, "/waits": waits}
