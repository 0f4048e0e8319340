"""ASGI for the kill test: the same answers as kill_wsgi."""

import asyncio

from hello_asgi import lifespan


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = b"alive\n"
    if scope["method"] == "POST":
        body = b"%d\n" % await body_length(receive)
    await asyncio.sleep(0.001)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def body_length(receive) -> int:
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            return length
