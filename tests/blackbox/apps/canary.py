"""Canary: WSGI and ASGI applications that note every request they see and how its body ended.

Notes: "start METHOD PATH", then "body N PATH" for a whole body of N bytes or "error PATH" for one cut short.
"""

import json

from notes import note

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "2")]


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    note(f"start {environ['REQUEST_METHOD']} {path}")
    try:
        size = len(environ["wsgi.input"].read())
    except Exception:
        note(f"error {path}")
        raise
    note(f"body {size} {path}")
    start_response("200 OK", HEADERS)
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    path, size = scope["path"], 0
    note(f"start {scope['method']} {path}")
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            note(f"error {path}")
            return
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    note(f"body {size} {path}")
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(name.encode(), value.encode()) for name, value in HEADERS],
        }
    )
    await send({"type": "http.response.body", "body": b"ok"})


def forwarded_view(scheme, client, host, headers):
    return json.dumps({"scheme": scheme, "client": client, "host": host, "headers": headers}).encode()


def wsgi_forwarded(environ, start_response):
    """What the application believes about its client."""
    headers = {key: value for key, value in environ.items() if key.startswith("HTTP_X_REQUEST")}
    body = forwarded_view(
        environ["wsgi.url_scheme"], environ.get("REMOTE_ADDR", ""), environ.get("HTTP_HOST"), headers
    )
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi_forwarded(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    pairs = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    headers = {
        "HTTP_" + name.upper().replace("-", "_"): value
        for name, value in pairs.items()
        if name.startswith("x-request")
    }
    client = scope["client"][0] if scope.get("client") else ""
    body = forwarded_view(scope["scheme"], client, pairs.get("host"), headers)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})
