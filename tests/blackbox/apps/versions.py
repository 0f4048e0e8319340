"""Hello for every Python version: nothing but the standard library, syntax of 3.10."""

import json
import sys


def answer(path, body):
    if path == "/raise":
        raise ZeroDivisionError("asked for")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return json.dumps({"python": version, "path": path, "body": body.decode()}).encode()


def app(environ, start_response):
    body = answer(environ["PATH_INFO"], environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = answer(scope["path"], b"".join(parts))
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})
