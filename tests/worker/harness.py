"""Plays the router for one worker process: starts it, feeds it frames, and collects what it answers.

Every wait has a deadline and says what it waited for when that passes. Nothing here knows HTTP.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import frames
from frames import Message, Request

HERE = Path(__file__).resolve().parent
BOOT = HERE.parents[1] / "crates/worker/python/boot.py"
PATIENCE = 10.0  # seconds that any single event may take


class WorkerGone(AssertionError):
    """The worker closed its links although something was expected from it."""


class Worker:
    """A worker process and the router's ends of its two links."""

    def __init__(self, python: str, extension: str, app: str, *, directory: Path = HERE / "apps",
                 **settings: object) -> None:
        ours, (data, control) = zip(socket.socketpair(), socket.socketpair())
        self._attach(*ours)
        self.stderr = tempfile.TemporaryFile()
        self.directory = directory
        config = {"extension": extension, "app": app, "factory": False, "interface": "auto", "concurrency": "auto",
                  "threads": 1, "lifespan": "auto", "loop": "asyncio", "async_slots": 1000,
                  "request_timeout_ms": 30000} | settings
        environment = os.environ | {"SERPENTRY_WORKER": json.dumps(config), "PYTHONDONTWRITEBYTECODE": "1"}
        # A shell would be one more process; dup2 in the child puts the links at the promised numbers.
        fds = (os.dup(data.fileno()), os.dup(control.fileno()))
        high = tuple(os.dup2(fd, 100 + index, inheritable=True) for index, fd in enumerate(fds))
        code = ("import os, sys; os.dup2(100, 3); os.dup2(101, 4); os.closerange(100, 102);"
                "os.execv(sys.argv[1], sys.argv[1:])")
        self.process = subprocess.Popen([python, "-SEc", code, python, str(BOOT)], env=environment, cwd=directory,
                                        stderr=self.stderr, close_fds=False)
        for fd in (*fds, *high):
            os.close(fd)
        data.close()
        control.close()

    def _attach(self, data: socket.socket, control: socket.socket) -> None:
        """Our ends of the links."""
        self.data, self.control = data, control
        self.next_id = 1
        self.buffers = {self.data: b"", self.control: b""}
        self.received: list[Message] = []
        self.orders: list[Message] = []
        self.selector = selectors.DefaultSelector()
        for link in (self.data, self.control):
            link.setblocking(False)
            self.selector.register(link, selectors.EVENT_READ)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self.process.poll() is None:
            self._show_threads()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        if error is not None:
            print("--- worker's standard error:\n" + self.errors())
        for thing in (self.data, self.control, self.selector, self.stderr):
            thing.close()

    def _show_threads(self) -> None:
        """State and system call of each thread (proc_pid_stat(5), proc_pid_syscall(5)): where it hangs, if it does."""
        for task in sorted(Path(f"/proc/{self.process.pid}/task").iterdir()):
            try:
                name, state, call = ((task / what).read_text().strip() for what in ("comm", "stat", "syscall"))
            except OSError as error:
                name, state, call = "?", ")", str(error)
            print(f"--- thread {task.name} {name}:{state.rsplit(')', 1)[1][:2]} {call}")

    def errors(self) -> str:
        """What the worker has written. Without `seek`: the worker's descriptor has the same offset, and would write there."""
        log = self.stderr.fileno()
        return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")

    # Sending

    def send(self, data: bytes) -> None:
        """Write on the data link; the worker must read within the patience."""
        self._write(self.data, data)

    def order(self, kind: int, id: int = 0, flags: int = 0, payload: bytes = b"") -> None:
        self._write(self.control, frames.frame(kind, id, payload, flags))

    def _write(self, link: socket.socket, data: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while data:
            try:
                data = data[link.send(data):]
            except BlockingIOError:
                self._collect(deadline, "room in the socket")

    def request(self, request: Request | None = None, *, body: bytes | None = None, flags: int = 0,
                **fields: object) -> int:
        """Send a request, with its whole body if there is one (which must fit the window); returns its id."""
        request = request or Request(**fields)  # type: ignore[arg-type]
        id, self.next_id = self.next_id, self.next_id + 1
        if body is not None:
            flags |= frames.HAS_BODY
        self.send(request.encode(id, flags) + (b"" if body is None else self.body_frames(id, body)))
        return id

    @staticmethod
    def body_frames(id: int, body: bytes, *, end: bool = True) -> bytes:
        pieces = [body[start:start + 65536] for start in range(0, len(body), 65536)] or [b""]
        last = len(pieces) - 1
        return b"".join(frames.frame(frames.BODY, id, piece, frames.END if end and index == last else 0)
                        for index, piece in enumerate(pieces))

    def credit(self, id: int, count: int) -> None:
        self.send(frames.frame(frames.CREDIT, id, count.to_bytes(4, "little")))

    # Receiving

    def _collect(self, deadline: float, what: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"waited {PATIENCE} s for {what}; worker's standard error:\n{self.errors()}")
        for key, _ in self.selector.select(left):
            link = key.fileobj
            assert isinstance(link, socket.socket)
            try:
                data = link.recv(1 << 20)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if data:
                self._cut(link, data)
            else:
                self.selector.unregister(link)
        if not self.selector.get_map():
            raise WorkerGone(f"the worker closed its links while {what} was expected:\n{self.errors()}")

    def _cut(self, link: socket.socket, data: bytes) -> None:
        buffer = self.buffers[link] + data
        while len(buffer) >= frames.HEADER.size:
            length, kind, flags, zero, id = frames.HEADER.unpack_from(buffer)
            assert zero == 0, "reserved bytes of a frame must be zero"
            if len(buffer) < frames.HEADER.size + length:
                break
            payload = buffer[frames.HEADER.size:frames.HEADER.size + length]
            buffer = buffer[frames.HEADER.size + length:]
            target = self.received if link is self.data else self.orders
            target.append(frames.decode(kind, flags, id, payload))
        self.buffers[link] = buffer

    def wait_for(self, condition, what: str):
        """Collect until `condition()` is truthy; returns it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            self._collect(deadline, what)
        return found

    def control_message(self, kind: int) -> Message:
        """The next control message of this kind; it is taken out of the list."""
        def find() -> Message | None:
            return next((order for order in self.orders if order.kind == kind), None)

        found = self.wait_for(find, f"control message {kind}")
        self.orders.remove(found)
        return found

    def ready(self) -> Worker:
        self.hello = self.control_message(frames.HELLO)
        self.control_message(frames.READY)
        return self

    def runs_eagerly(self) -> bool:
        """CPython 3.12 and newer start a request's task within the batch that brought it."""
        return int(self.hello.payload.partition(b"CPython 3.")[2].split(b".")[0]) >= 12

    def of(self, id: int, kind: int | None = None) -> list[Message]:
        return [message for message in self.received if message.id == id and kind in (None, message.kind)]

    def first(self, id: int, kind: int) -> Message:
        return self.wait_for(lambda: self.of(id, kind), f"frame {kind} of request {id}")[0]

    def done(self, id: int) -> list[Message]:
        """All frames of a request once DONE has come."""
        self.wait_for(lambda: any(message.done for message in self.of(id)), f"the end of request {id}")
        return self.of(id)

    def answer(self, id: int) -> Answer:
        return Answer(self.done(id))

    def get(self, path: str = "/", **fields: object) -> Answer:
        return self.answer(self.request(path=path, **fields))

    def wait_for_log(self, text: str) -> None:
        """Until the worker's standard error holds `text`; a file cannot be selected, so this looks again and again."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.errors():
            assert time.monotonic() < deadline, f"waited {PATIENCE} s for {text!r} in the log:\n{self.errors()}"
            assert self.process.poll() is None or text in self.errors(), f"the worker has ended:\n{self.errors()}"
            time.sleep(0.005)

    def finish(self) -> int:
        """Order the worker to finish; returns its exit code."""
        self.order(frames.FINISH)
        return self.process.wait(PATIENCE)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


class Answer:
    """The response of a finished request, put together from its frames."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.failed = next((m.data.decode() for m in messages if m.kind == frames.FAILED), None)
        head = next((m for m in messages if m.kind == frames.RESPONSE), None)
        self.status = head.status if head else 0
        self.reason = head.reason if head else b""
        self.headers = head.headers if head else []
        self.body = b"".join(m.data for m in messages if m.kind in (frames.RESPONSE, frames.BODY))
        self.ended = any(m.end for m in messages if m.kind in (frames.RESPONSE, frames.BODY))
        self.spent = messages[-1].spent
        assert sum(m.done for m in messages) == 1, f"DONE must be said once: {messages}"
