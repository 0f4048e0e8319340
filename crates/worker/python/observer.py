"""What threads of the application are doing, for the observer's own threads.

The application may replace anything in any module: what is needed is taken here, before it is imported. Whatever it does to
this module, only the explanations of its own failures suffer.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import os
import sys
import sysconfig
import threading
import traceback
from collections import namedtuple
from types import CodeType, FrameType

TYPE_CHECKING = False  # the module typing needs 1 MiB, for annotations that nobody evaluates
if TYPE_CHECKING:
    from typing import Any

# Frames of a stack that are shown, from the innermost on; and of one that are looked at.
SHOWN = 40
DEEPEST = 10_000

LONGEST = 16 * 1024  # characters of a stack, and of all stacks together
MOST_THREADS = 64

TRACED_FRAMES = 12  # of each allocation, to find the application's line that led to it
MOST_TRACED = 64 * 1024 * 1024  # bytes that the tracing itself may need
TOP = 20  # lines that are shown
LONGEST_CALL = 120  # characters of the name of what is called
LONGEST_EXPRESSION = 50  # lines of the expression that calls it

current_frames = sys._current_frames
threads = threading._active  # type: ignore[attr-defined]
traced_before: Any = None  # a tracemalloc.Snapshot
here = os.getcwd()


def directory(path: str) -> str:
    return path.rstrip("/") + "/"


STANDARD = tuple({directory(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})
PACKAGES = ("/site-packages/", "/dist-packages/")
# Not imported for that: a worker without an event loop would need 7 MiB more, half of them for TLS.
LOOP = directory(sysconfig.get_path("stdlib")) + "asyncio/"

# What runs steps on an event loop; all that is called from there is a step.
MACHINERY = {LOOP + name for name in ("base_events.py", "events.py", "runners.py", "unix_events.py")}
OWN = ("serpentry/", "<frozen ")

Step = tuple[FrameType, FrameType]
seen: Step | None = None


class Spot(namedtuple("Spot", ("frame", "line", "instruction"))):
    """A frame and where it was: a running one goes on while it is described."""

    __slots__ = ()

    @property
    def code(self) -> CodeType:
        return self.frame.f_code


def outwards(frame: FrameType | None) -> list[Spot]:
    """A stack from the innermost frame on."""
    spots: list[Spot] = []
    while frame is not None and len(spots) < DEEPEST:
        spots.append(Spot(frame, frame.f_lineno or 0, frame.f_lasti))
        frame = frame.f_back
    return spots


def is_own(code: CodeType) -> bool:
    return own_path(code.co_filename)


def is_standard(code: CodeType) -> bool:
    path = code.co_filename
    return own_path(path) or (path.startswith(STANDARD) and not any(part in path for part in PACKAGES))


def is_library(code: CodeType) -> bool:
    return library_path(code.co_filename)


def own_path(path: str) -> bool:
    return path.startswith(OWN) or path.endswith("/boot.py")


def library_path(path: str) -> bool:
    return own_path(path) or path.startswith(STANDARD) or any(part in path for part in PACKAGES)


def step_of(spots: list[Spot]) -> Step | None:
    """What the loop runs now: its outermost frame, and the frame of the loop that runs it; None if it runs nothing.

    A task has the same frame in all of its steps. asyncio runs each of them in a `Handle._run` of its own; in a loop that is not
    written in Python two steps of one task cannot be told apart.
    """
    step = None
    for frame, _, _ in spots:
        code = frame.f_code
        if code.co_filename in MACHINERY or (is_own(code) and code.co_name == "serve"):
            if code.co_name == "_run":
                return step or frame, frame  # without a step: a callback that is no Python function
            return step and (step, frame)
        step = frame
    return None


def blocked(thread: int, anyway: bool) -> list[Spot] | None:
    """Where the loop of `thread` is, if it was in the same step when this was asked before (or `anyway`).

    Frames are compared by identity: two steps have two, as long as the first one is kept. Nothing here gives the interpreter
    lock away, as describing does.
    """
    global seen
    spots = outwards(current_frames().get(thread))
    step = step_of(spots)
    same = step is not None and seen is not None and step[0] is seen[0] and step[1] is seen[1]
    seen = step
    return spots if step is not None and (same or anyway) else None


def forget() -> None:
    global seen
    seen = None


def place_of_thread(thread: int) -> tuple[str, str, str, str]:
    return described(outwards(current_frames().get(thread)))


def place_here() -> tuple[str, str, str, str]:
    """Of the calling thread."""
    return described(outwards(sys._getframe(1)))


def described(spots: list[Spot]) -> tuple[str, str, str, str]:
    """Place, call, innermost and stack."""
    users = guilty(spots)
    if users is None:
        return "", "", "", ""
    inner = "" if users is spots[0] else f"{name_of(spots[0].code)} at {place_of(spots[0])}"
    call = call_of(users)
    handler = log_handler(spots)
    if handler and handler not in call:
        call = f"{call} of a {handler}" if users is not spots[0] else f"{call} in a {handler}"
    return printable(place_of(users)), printable(call), printable(inner), stack_of(spots)


def log_handler(spots: list[Spot]) -> str:
    """The handler that a log record is in, if one is."""
    logging = sys.modules.get("logging")
    base = getattr(logging, "Handler", None)
    for spot in spots:
        code = spot.code
        if code.co_name == "handle" and code.co_filename.endswith("/logging/__init__.py"):
            handler = spot.frame.f_locals.get("self")
            if isinstance(base, type) and isinstance(handler, base):
                kind = type(handler)
                return f"{kind.__module__}.{kind.__qualname__}"[:LONGEST_CALL]
    return ""


def guilty(spots: list[Spot]) -> Spot | None:
    """The innermost frame of the application; of a package, if there is none of it."""
    for foreign in (is_library, is_standard):
        for spot in spots:
            if not foreign(spot.code):
                return spot
    return spots[0] if spots else None


def place_of(spot: Spot) -> str:
    path = spot.code.co_filename
    if path.startswith(directory(here)):
        path = path[len(directory(here)):]
    return f"{path}:{spot.line}"


def name_of(code: CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)


def call_of(spot: Spot) -> str:
    """What is called at the current instruction, as it is written there: `requests.get`. Else the function itself."""
    try:
        found = called(spot)
    except Exception:
        found = ""  # the source is not there, or is not what was compiled
    return (found or name_of(spot.code))[:LONGEST_CALL]


def called(spot: Spot) -> str:
    first: int | None
    last: int | None
    first, last, begin, end = spot.line, spot.line, None, None
    if hasattr(spot.code, "co_positions"):
        position = next(itertools.islice(spot.code.co_positions(), spot.instruction // 2, None), None)
        first, last, begin, end = position or (None, None, None, None)
    if first is None or last is None or last - first > LONGEST_EXPRESSION:
        return ""
    lines = linecache.getlines(spot.code.co_filename)[first - 1:last]
    if begin is not None and end is not None:
        # Columns count bytes of UTF-8.
        data = [text.encode() for text in lines]
        data[-1] = data[-1][:end]
        data[0] = data[0][begin:]
        tree: ast.AST = ast.parse("(" + b"".join(data).decode() + "\n)", mode="eval")
    else:
        tree = ast.parse("".join(lines).strip())
    call = next((node for node in ast.walk(tree) if isinstance(node, ast.Call)), None)
    return ast.unparse(call.func) if call else ""


def stack_of(spots: list[Spot]) -> str:
    """As Python prints a traceback, without what is ours."""
    shown = spots[:SHOWN]
    while shown and (is_own(shown[-1].code) or shown[-1].code.co_filename in MACHINERY):
        shown.pop()
    entries = traceback.StackSummary.extract((spot.frame, spot.line) for spot in reversed(shown))
    return printable("".join(entries.format())[-LONGEST:])


def stacks() -> str:
    """Where each thread of the application is; the innermost call last, as Python prints a traceback."""
    own = threading.get_ident()
    # threading.enumerate() takes a lock, which a thread that is stuck may hold.
    names = {ident: thread.name for ident, thread in list(threads.items())}
    texts = []
    for ident, frame in current_frames().items():
        # Frames of ours alone belong to threads that serve nothing.
        spots = outwards(frame)
        if ident == own or len(texts) >= MOST_THREADS:
            continue
        stack = stack_of(spots) or "  nothing of the application\n"
        texts.append(f"thread {printable(names.get(ident, ident))[:80]}:\n{stack[-LONGEST // 4:]}")
    return "\n".join(texts)[:LONGEST]


def trace_begin() -> bool:
    """From here on it is noted where memory is allocated."""
    # Imported only where it is wanted, as below: it needs half a MiB.
    import tracemalloc

    global traced_before
    traced_before = tracemalloc.take_snapshot() if tracemalloc.is_tracing() else None
    if traced_before is None:
        tracemalloc.start(TRACED_FRAMES)
    return True


def trace_has_room() -> bool:
    import tracemalloc

    return tracemalloc.get_tracemalloc_memory() < MOST_TRACED


def trace_end() -> str:
    """The lines of the application that allocated most of what is still there."""
    import tracemalloc

    allocated: dict[tuple[str, int], list[int]] = {}
    try:
        snapshot = tracemalloc.take_snapshot()
    finally:
        if traced_before is None:
            tracemalloc.stop()
    if traced_before is None:
        found = [(it.traceback, it.size, it.count) for it in snapshot.statistics("traceback")]
    else:  # the application traces by itself
        differences = snapshot.compare_to(traced_before, "traceback")
        found = [(it.traceback, it.size_diff, it.count_diff) for it in differences]
    for trace, size, count in found:
        frames = list(reversed(trace))  # the innermost first
        line = next((frame for frame in frames if not library_path(frame.filename)), frames[0])
        sums = allocated.setdefault((line.filename, line.lineno), [0, 0])
        sums[0] += size
        sums[1] += count
    lines = []
    for (path, line), (size, count) in sorted(allocated.items(), key=lambda item: -item[1][0])[:TOP]:
        if size <= 0 or path.startswith(OWN):
            continue
        source = linecache.getline(path, line).strip()[:LONGEST_CALL]
        short = path[len(directory(here)):] if path.startswith(directory(here)) else path
        lines.append(f"{short}:{line} {size / 1024:+.1f} KiB, {count} blocks" + (f"  {source}" if source else ""))
    return printable("\n".join(lines) or "nothing that was allocated is left")


def printable(text: Any) -> str:
    """What can be sent: file names may hold bytes that are no text."""
    return str(text).encode("utf-8", "backslashreplace").decode()
