"""The event loop of an ASGI worker: opening it, lifespan, serving, closing it.

Requests themselves are started by the extension; what is here runs once per worker or only on slow paths.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any, Awaitable, Callable, Coroutine

from serpentry_loading import BootError, one_line, trace_of
from serpentry_support import LONGEST_STACK, report_line, stack_of_thread
from serpentry_worker import RequestTimeout

SHUTDOWN_SECONDS = 10.0
VERSIONS = {"version": "3.0", "spec_version": "2.0"}

Application = Callable[[dict, Callable[[], Awaitable[dict]], Callable[[dict], Awaitable[None]]], Awaitable[None]]


def open_loop(kind: str) -> tuple[asyncio.AbstractEventLoop, str]:
    """A new event loop and its name; "auto" prefers uvloop where the application's environment has it."""
    if kind != "asyncio":
        try:
            import uvloop
        except ImportError:
            if kind == "uvloop":
                raise BootError("--loop uvloop needs uvloop: install it in the application's environment") from None
        else:
            return uvloop.new_event_loop(), "uvloop"
    return asyncio.new_event_loop(), "asyncio"


async def await_it(awaitable: Awaitable[None]) -> None:
    """For applications that return something else than a coroutine; what cannot be awaited gets Python's own error."""
    await awaitable


async def receive_later(exchange: Any) -> dict:
    """The slow path of receive(): sleep until an event is there."""
    while True:
        event = exchange.poll()
        if event is not None:
            return event
        await exchange.waiter()


async def send_later(exchange: Any) -> None:
    """The slow path of send(): sleep until the router has taken everything."""
    while not exchange.drained():
        await exchange.waiter()


class Lifespan:
    """The application's lifespan task (ASGI lifespan specification 2.0)."""

    def __init__(self, app: Application, mode: str) -> None:
        self.app = app
        self.mode = mode
        self.state: dict[str, Any] = {}
        self.events: asyncio.Queue[dict] = asyncio.Queue()
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.complete = False
        self.refusal: str | None = None
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Returns when requests may come; raises BootError when the application does not want any."""
        if self.mode == "off":
            return
        self.task = asyncio.ensure_future(self._run())
        self.events.put_nowait({"type": "lifespan.startup"})
        await self.started.wait()
        if self.refusal is not None:
            raise BootError(f"the application refused to start: {self.refusal or 'lifespan.startup.failed'}")
        if self.complete:
            return
        self.state.clear()
        if self.mode == "on":
            if self.error is None:
                raise BootError("the application returned from its lifespan without startup: try --lifespan off")
            message = f"the application raised {one_line(self.error)} in its lifespan startup"
            raise BootError(message, trace_of(self.error))
        if self.error is not None:
            logging.getLogger("serpentry").debug("lifespan is not supported: %s", one_line(self.error))

    async def shutdown(self) -> None:
        """Tell the application that no request will come, and wait for it within a bound."""
        if not self.complete or self.stopped.is_set():
            return
        self.events.put_nowait({"type": "lifespan.shutdown"})
        try:
            await asyncio.wait_for(self.stopped.wait(), SHUTDOWN_SECONDS)
        except asyncio.TimeoutError:
            report_line(f"lifespan shutdown took longer than {SHUTDOWN_SECONDS:g} s and was abandoned")

    async def _run(self) -> None:
        try:
            await self.app({"type": "lifespan", "asgi": VERSIONS, "state": self.state}, self._receive, self._send)
        except BaseException as error:
            self.error = error
            if self.complete and not isinstance(error, asyncio.CancelledError):
                report_line(f"lifespan failed: {one_line(error)}\n{trace_of(error)}")
        finally:
            self.started.set()
            self.stopped.set()

    async def _receive(self) -> dict:
        return await self.events.get()

    async def _send(self, message: dict) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self.started.is_set():
            self.complete = True
            self.started.set()
        elif kind == "lifespan.startup.failed" and not self.started.is_set():
            self.refusal = str(message.get("message", ""))
            self.started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed") and self.complete:
            if kind.endswith("failed"):
                report_line(f"lifespan shutdown failed: {message.get('message', '')}")
            self.stopped.set()
        else:
            raise RuntimeError(f"unexpected message {kind!r} in the lifespan")


def start(loop: asyncio.AbstractEventLoop, app: Application, mode: str) -> Lifespan:
    """Run the lifespan startup."""
    asyncio.set_event_loop(loop)

    async def begin() -> Lifespan:
        lifespan = Lifespan(app, mode)
        await lifespan.startup()
        return lifespan

    return loop.run_until_complete(begin())


def serve(
    loop: asyncio.AbstractEventLoop,
    server: Any,
    lifespan: Lifespan,
    data: int,
    wake: int,
    ready: Callable[[], None],
) -> None:
    """Call `ready`, run the loop until the server says that everything is finished, then close it."""
    loop.add_reader(data, server.on_readable)
    loop.add_reader(wake, server.on_wake)
    loop.call_soon(server.on_wake)
    ready()
    while not server.finished():
        try:
            loop.run_forever()
        except RequestTimeout:
            continue  # it was meant for a request that ended in the same moment
    loop.remove_reader(data)
    loop.remove_reader(wake)
    try:
        complete(loop, lifespan.shutdown())
        complete(loop, close(loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def complete(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> None:
    """run_until_complete, undisturbed by a stop() that was meant for the serving loop and is still pending."""
    task = loop.create_task(coroutine)
    task.add_done_callback(lambda _: loop.stop())
    while not task.done():
        loop.run_forever()
    task.result()


async def close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left and shut down generators and the executor, as asyncio.run does."""
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    results = await asyncio.gather(*left, return_exceptions=True)
    for error in results:
        if isinstance(error, Exception):
            report_line(f"a background task failed: {one_line(error)}")
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def stack_of_task(task: asyncio.Task | None, blocked: bool, thread: int) -> str:
    """Where a request's task is, as a traceback; with `blocked` where the loop's thread is, which is inside of it."""
    text = ""
    if blocked:
        text = stack_of_thread(thread)
    elif task is not None:
        frames = task.get_stack()
        entries = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in awaited(task, frames))
        text = "Traceback (most recent call last):\n" + "".join(entries.format())
    return text[-LONGEST_STACK:]


def awaited(task: asyncio.Task, frames: list) -> list:
    """The frames of a suspended task, down the chain of what it awaits."""
    coroutine: Any = task.get_coro()
    chain = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        chain.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return chain or frames
