"""Python the serving code needs: reporting, stacks, the file wrapper of WSGI."""

from __future__ import annotations

import sys
import threading
import traceback
from types import FrameType

TYPE_CHECKING = False  # the module typing needs 1 MiB, for annotations that nobody evaluates
if TYPE_CHECKING:
    from typing import BinaryIO, Callable

LONGEST_STACK = 16 * 1024


def report(request_id: str, method: str, path: str, reason: str, error: BaseException | None) -> None:
    """Write why a request failed to the application's standard error, with the traceback if there is one."""
    line = f"request {request_id} {method} {path!r} failed: {reason}\n"
    if isinstance(error, SystemExit):
        line += "sys.exit() in a request ends only that request\n"
    if error is not None:
        line += "".join(traceback.format_exception(type(error), error, error.__traceback__))
    report_line(line.rstrip("\n"))


def report_line(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # the application has closed or replaced it


def format_frame(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return "Traceback (most recent call last):\n" + "".join(traceback.format_stack(frame))


def stack_of_thread(thread: int) -> str:
    """Where thread `thread` is, as a traceback; the innermost part if it is long."""
    return format_frame(sys._current_frames().get(thread))[-LONGEST_STACK:]


class FileWrapper:
    """wsgi.file_wrapper: iterate over a file in blocks (PEP 3333, "Optional Platform-Specific File Handling")."""

    def __init__(self, filelike: BinaryIO, block_size: int = 64 * 1024) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data


def serve_threads(serve: Callable[[int], None], count: int, ready: Callable[[], None]) -> None:
    """Run `serve(index)` on `count` threads; one alone runs here, on the main thread. `ready` is called when all are there."""
    if count == 1:
        ready()
        serve(0)
        return
    threads = [threading.Thread(target=serve, args=(index,), name=f"serpentry-{index}") for index in range(count)]
    for number, thread in enumerate(threads, 1):
        try:
            thread.start()
        except RuntimeError as error:
            raise RuntimeError(
                f"cannot start thread {number} of {count} ({error}): limits.processes counts threads too"
            ) from error
    ready()
    for thread in threads:
        thread.join()
