"""WebSocket routes of asgi_plain: one per behaviour that test_websocket.py looks at."""

import asyncio
import json
from urllib.parse import parse_qs

from notes import note


async def accept(receive, send, **more):
    message = await receive()
    assert message == {"type": "websocket.connect"}, message
    await send({"type": "websocket.accept", **more})


async def echo(scope, receive, send):
    await accept(receive, send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            note(f"disconnect {message['code']} {message.get('reason', '')}".strip())
            return
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def show_scope(scope, receive, send):
    await accept(receive, send)
    plain = {
        key: scope[key]
        for key in ("type", "scheme", "path", "http_version", "root_path", "subprotocols", "asgi")
    }
    plain["query_string"] = scope["query_string"].decode()
    plain["raw_path"] = scope["raw_path"].decode()
    plain["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    plain["client"], plain["server"] = list(scope["client"]), list(scope["server"])
    plain["state"] = scope.get("state", {}).get("from_lifespan")
    plain["has method"] = "method" in scope
    plain["extensions"] = list(scope.get("extensions") or {})
    await send({"type": "websocket.send", "text": json.dumps(plain)})
    await send({"type": "websocket.close"})


async def subprotocol(scope, receive, send):
    await accept(
        receive,
        send,
        subprotocol=scope["subprotocols"][-1],
        headers=[(b"x-accepted", b"yes"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
    )
    await send({"type": "websocket.close", "code": 1000})


async def close(scope, receive, send):
    wanted = parse_qs(scope["query_string"].decode())
    await accept(receive, send)
    await send(
        {"type": "websocket.close", "code": int(wanted["code"][0]), "reason": wanted.get("reason", [""])[0]}
    )
    message = await receive()
    note(f"after own close {message['type']}")


async def reject(scope, receive, send):
    await receive()
    await send({"type": "websocket.close", "code": 4000})


async def denial(scope, receive, send):
    await receive()
    assert "websocket.http.response" in scope["extensions"]
    await send(
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no ticket")]}
    )
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"entry"})


async def raise_before(scope, receive, send):
    raise RuntimeError("raised before accept")


async def raise_after(scope, receive, send):
    await accept(receive, send)
    raise RuntimeError("raised after accept")


async def return_before(scope, receive, send):
    await receive()


async def return_after(scope, receive, send):
    await accept(receive, send)


async def send_before_accept(scope, receive, send):
    await receive()
    await send({"type": "websocket.send", "text": "too early"})


async def push(scope, receive, send):
    """Sends without being asked, a thousand messages in order."""
    await accept(receive, send)
    for number in range(1000):
        await send({"type": "websocket.send", "text": str(number)})
    await send({"type": "websocket.close", "code": 4002})


async def flood(scope, receive, send):
    """Sends 64 KiB messages until `send` waits; the test watches memory."""
    await accept(receive, send)
    try:
        for _ in range(4000):
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
    except Exception as error:
        note(f"flood ended by {type(error).__name__}")
    note("flood ended")


async def both_ways(scope, receive, send):
    """Receives and sends from two tasks at once."""
    await accept(receive, send)

    async def ticks():
        for number in range(50):
            await send({"type": "websocket.send", "text": f"tick {number}"})
            await asyncio.sleep(0.001)

    task = asyncio.create_task(ticks())
    total = 0
    while total < 50:
        message = await receive()
        total += len(message["text"])
    await task
    await send({"type": "websocket.send", "text": f"received {total}"})
    await send({"type": "websocket.close"})


SOCKETS = {
    "/ws/echo": echo,
    "/ws/scope": show_scope,
    "/ws/subprotocol": subprotocol,
    "/ws/close": close,
    "/ws/reject": reject,
    "/ws/denial": denial,
    "/ws/raise-before": raise_before,
    "/ws/raise-after": raise_after,
    "/ws/return-before": return_before,
    "/ws/return-after": return_after,
    "/ws/send-before-accept": send_before_accept,
    "/ws/push": push,
    "/ws/flood": flood,
    "/ws/both-ways": both_ways,
}
