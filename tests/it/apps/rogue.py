"""A worker that breaks the protocol on demand: `POST /attack/NAME`.

Descriptor 3 is its data link, 4 its control link. Frames are built by hand (see the documentation of the `wire` crate):
length of the payload (4 bytes), kind, flags, two zeros, request id (8), payload, all little endian.

The test sends two requests, so their ids are known: 1 is held by the other worker, 2 is the attack itself.
"""

import os
import socket
import struct
import sys
import threading

from hello import wait_at_gate

DATA, CONTROL = 3, 4
OTHER, OWN, NOBODY = 1, 2, 999_999
BODY, CREDIT, RESPONSE, STARTED, DONE, MESSAGE = 2, 3, 5, 7, 8, 9
HELLO, READY, BOOT_FAILED, RECLAIMED, STACK = 32, 33, 34, 36, 39
LARGEST = 384 * 1024


def frame(kind, flags=0, request=OWN, payload=b"", length=None, reserved=0):
    length = len(payload) if length is None else length
    return struct.pack("<IBBHQ", length, kind, flags, reserved, request) + payload


def text(value):
    return struct.pack("<I", len(value)) + value


def response(request, status=200, flags=3):
    return frame(RESPONSE, flags, request, struct.pack("<HIH", status, 0, 0))


def hello(version=3, slots=1):
    return frame(HELLO, 0, 0, struct.pack("<HBI", version, 0, slots) + text(b"rogue"))


# What is written, and to which link.
WRITES = {
    "garbage": (DATA, bytes(range(255, -1, -1)) * 40),
    "oversize": (DATA, frame(BODY, length=LARGEST + 1)),
    "oversize-at-most": (DATA, frame(BODY, length=0xFFFFFFFF)),
    "reserved": (DATA, frame(CREDIT, payload=bytes(4), reserved=1)),
    "unknown-kind": (DATA, frame(99)),
    "not-its-kind": (DATA, frame(1)),
    "control-on-data": (DATA, hello()),
    "bad-flags": (DATA, frame(STARTED, flags=0x80)),
    "trailing": (DATA, frame(CREDIT, payload=bytes(9))),
    "lying-count": (DATA, frame(RESPONSE, 3, OWN, struct.pack("<HIH", 200, 0, 0xFFFF))),
    "unknown-request": (DATA, response(NOBODY)),
    "somebody-elses-request": (DATA, response(OTHER)),
    "body-before-head": (DATA, frame(BODY, payload=b"early")),
    "message-before-handshake": (DATA, frame(MESSAGE, flags=1, payload=b"early")),
    "done-twice": (DATA, response(OWN) + frame(DONE)),
    "control-garbage": (CONTROL, b"\xff" * 4096),
    "control-unknown-kind": (CONTROL, frame(99, request=0)),
    "data-on-control": (CONTROL, response(OWN)),
    "control-text": (CONTROL, frame(STACK, payload=text(b"\xff\xfe"))),
    "second-hello": (CONTROL, hello()),
    "other-version": (CONTROL, hello(version=7)),
    "second-ready": (CONTROL, frame(READY, request=0)),
    "late-boot-failure": (CONTROL, frame(BOOT_FAILED, 0, 0, text(b"I give up") + text(b"a traceback"))),
    "odd-reclaim": (CONTROL, frame(RECLAIMED, 0, 0, b"odd")),
}

# Valid frames without end.
FLOODS = {
    "started": (DATA, frame(STARTED)),
    "stack": (CONTROL, frame(STACK, payload=text(b"here"))),
    "boot-failed": (CONTROL, frame(BOOT_FAILED, 0, 0, text(b"no") + text(b"a traceback"))),
}


def shut_down(link, how):
    with socket.socket(fileno=os.dup(link)) as end:
        end.shutdown(how)


def write(link, data):
    while data:
        data = data[os.write(link, data) :]


def flood(link, data):
    data *= max(1, 65_536 // len(data))
    print("flooding", file=sys.stderr, flush=True)
    while True:
        try:
            write(link, data)
        except BaseException as error:  # the interrupt at the deadline, which a hostile application ignores
            print(f"still flooding: {error!r}", file=sys.stderr, flush=True)
            if isinstance(error, OSError):
                os._exit(1)


CALLS = {
    "half-then-exit": lambda: (write(DATA, frame(BODY)[:10]), os._exit(3)),
    "control-half-then-exit": lambda: (write(CONTROL, frame(STACK)[:10]), os._exit(3)),
    "half-then-answer": lambda: write(DATA, frame(CREDIT, length=8)[:10]),
    "close": lambda: os.close(DATA),
    "replace": lambda: os.dup2(os.open(os.devnull, os.O_RDWR), DATA),
    "shut-down": lambda: shut_down(DATA, socket.SHUT_RDWR),
    "shut-down-writing": lambda: (shut_down(DATA, socket.SHUT_WR), threading.Event().wait()),
    "control-shut-down": lambda: (shut_down(CONTROL, socket.SHUT_RDWR), threading.Event().wait()),
    "control-shut-down-writing": lambda: (shut_down(CONTROL, socket.SHUT_WR), threading.Event().wait()),
    "control-close": lambda: (os.close(CONTROL), threading.Event().wait()),
    "half-then-hang": lambda: (write(DATA, frame(BODY)[:10]), threading.Event().wait()),
}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/gate":
        wait_at_gate("request")
    elif path.startswith("/flood/"):
        flood(*FLOODS[path.removeprefix("/flood/")])
    elif path.startswith("/attack/"):
        name = path.removeprefix("/attack/")
        if name in CALLS:
            CALLS[name]()
        else:
            write(*WRITES[name])
            threading.Event().wait()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
