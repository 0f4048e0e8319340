"""Applications that take bodies of any size (answering size and sha256) and make them (?size= bytes)."""

import hashlib
import json
import time
from urllib.parse import parse_qs

from notes import note

PIECE = bytes(range(256)) * 256  # 64 KiB


def pieces(size):
    while size > 0:
        yield PIECE[:size]
        size -= len(PIECE)


def wanted(query):
    return int(parse_qs(query)["size"][0])


def wsgi(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        size = wanted(environ["QUERY_STRING"])
        headers = [("Content-Length", str(size))] if "known" in environ["QUERY_STRING"] else []
        start_response("200 OK", headers)
        return pieces(size)
    digest, size = hashlib.sha256(), 0
    while data := environ["wsgi.input"].read(65536):
        digest.update(data)
        size += len(data)
    body = json.dumps({"size": size, "sha256": digest.hexdigest()}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    query = scope["query_string"].decode()
    if scope["path"] == "/block":
        note("blocking")
        time.sleep(1.5)  # what an event loop must never do, and what programs do all the same
    if scope["method"] == "GET":
        size = wanted(query)
        headers = [(b"content-length", b"%d" % size)] if "known" in query else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces(size):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message.get("body", b""))
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = json.dumps({"size": size, "sha256": digest.hexdigest()}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})
