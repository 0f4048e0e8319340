"""The application of most tests: says who it is, and waits at the test's gate when asked to."""

import os
import socket
import sys


def wait_at_gate(name: str) -> None:
    """Connect to the test, say so on standard error, wait for the end of the stream."""
    with socket.create_connection(("127.0.0.1", int(os.environ["GATE"]))) as gate:
        print(f"at the gate: {name}", file=sys.stderr, flush=True)
        gate.recv(1)


if os.environ.get("GATE_AT") == "import":
    wait_at_gate("import")


def app(environ, start_response):
    if environ["PATH_INFO"] == "/gate":
        wait_at_gate("request")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {sys.executable}".encode()]


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
