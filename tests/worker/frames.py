"""The frames between router and worker, written again from the protocol's description.

An independent encoder and decoder, so that a mistake in the Rust one shows. Only what a router sends and receives.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

END, DONE, HAS_BODY, WEBSOCKET, ACK_START, TEXT, RECLAIM, SPENT = 1, 2, 4, 8, 16, 32, 64, 128

REQUEST, BODY, CREDIT, CANCEL, RESPONSE, FAILED, STARTED, DONE_FRAME, MESSAGE, CLOSE = range(1, 11)
HELLO, READY, BOOT_FAILED, NUDGE, RECLAIMED, INTERRUPT, FINISH, STACK, FORK, LOOK, BLOCKED, DURABLE, SEEN = range(32, 45)

HEADER = struct.Struct("<IBBHQ")

# Codes 1 to 10 of the table of known request headers; the other names travel as text, which must work as well.
KNOWN = ["te", "dnt", "via", "host", "date", "etag", "from", "range", "accept", "cookie"]


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def frame(kind: int, id: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return HEADER.pack(len(payload), kind, flags, 0, id) + payload


@dataclass
class Request:
    """A request as the router describes it. `path` may be given decoded; raw_path defaults to it."""

    path: str | bytes = "/"
    method: str = "GET"
    query: str = ""
    headers: list[tuple[str, str | bytes]] = field(default_factory=lambda: [("host", "example.com")])
    version: int = 11
    scheme: str = "http"
    raw_path: str | None = None
    root_path: str = ""
    client: tuple[str, int] = ("10.0.0.9", 4711)
    server: tuple[str, int] = ("127.0.0.1", 8000)
    request_id: str = "rid-1"
    content_length: int | None = None
    window: int = 256 * 1024

    def encode(self, id: int, flags: int = 0) -> bytes:
        stated = self.content_length is not None
        parts = [
            struct.pack("<BIHHBQ", self.version, self.window, self.client[1], self.server[1], stated,
                        self.content_length or 0),
        ]
        for value in (self.method, self.scheme, self.root_path, self.client[0], self.server[0], self.request_id):
            parts.append(text(value))
        path = self.path.encode() if isinstance(self.path, str) else self.path
        raw = path if self.raw_path is None else self.raw_path
        parts += [text(raw), text(path), text(self.query), struct.pack("<H", len(self.headers))]
        for name, value in self.headers:
            code = KNOWN.index(name) + 1 if name in KNOWN else 0
            parts.append(bytes([code]) + (b"" if code else text(name)) + text(value))
        return frame(REQUEST, id, b"".join(parts), flags)


class Reader:
    """Fields of a payload."""

    def __init__(self, payload: bytes) -> None:
        self.rest = payload

    def take(self, count: int) -> bytes:
        assert len(self.rest) >= count, "payload ends too early"
        head, self.rest = self.rest[:count], self.rest[count:]
        return head

    def number(self, form: str) -> int:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self) -> bytes:
        return self.take(self.number("I"))


@dataclass
class Spent:
    """What a request took, in microseconds; None is not known."""

    wall: int
    cpu: int
    run_queue: int | None
    gil: int | None

    LAYOUT = struct.Struct("<IIII")

    @staticmethod
    def decode(trailer: bytes) -> Spent:
        wall, cpu, run_queue, gil = Spent.LAYOUT.unpack(trailer)
        unknown = 0xFFFF_FFFF
        return Spent(wall, cpu, None if run_queue == unknown else run_queue, None if gil == unknown else gil)


@dataclass
class Message:
    """One decoded frame; which fields are set depends on `kind`."""

    kind: int
    flags: int
    id: int
    payload: bytes
    status: int = 0
    reason: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    data: bytes = b""
    spent: Spent | None = None

    @property
    def end(self) -> bool:
        return bool(self.flags & END)

    @property
    def done(self) -> bool:
        return self.kind == DONE_FRAME or bool(self.flags & DONE)


def decode(kind: int, flags: int, id: int, payload: bytes) -> Message:
    spent = None
    if flags & SPENT:
        assert kind in (RESPONSE, BODY, FAILED, DONE_FRAME), f"frame {kind} cannot say what its request took"
        payload, trailer = payload[:-Spent.LAYOUT.size], payload[-Spent.LAYOUT.size:]
        spent, flags = Spent.decode(trailer), flags & ~SPENT
    message = Message(kind, flags, id, payload, spent=spent)
    reader = Reader(payload)
    if kind == RESPONSE:
        message.status = reader.number("H")
        message.reason = reader.text()
        message.headers = [(reader.text(), reader.text()) for _ in range(reader.number("H"))]
        message.data = reader.rest
    elif kind == CLOSE:
        message.status = reader.number("H")
        message.reason = reader.text()
    else:
        message.data = payload
    return message
