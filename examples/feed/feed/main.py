"""A feed of short messages: JSON over HTTP, live over a WebSocket.

The entry point is `feed.main:app`. The state is made in the lifespan and
reaches each endpoint through `request.state` (the ASGI scope's `state`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, TypedDict

from fastapi import FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.responses import StreamingResponse

from feed.models import Health, Message, NewMessage, Upload
from feed.store import Hub, Store


class State(TypedDict):
    """What the lifespan gives to every request."""

    store: Store
    hub: Hub


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Make the state before the first request."""
    store = Store()
    store.add(NewMessage(author="feed", text="The feed is open."))
    yield {"store": store, "hub": Hub()}


app = FastAPI(title="Feed", version="1.0", lifespan=lifespan)


@app.get("/healthz")
async def healthz(request: Request) -> Health:
    """How this worker is doing."""
    return Health(status="ok", messages=len(request.state.store), subscribers=len(request.state.hub))


@app.get("/messages")
async def messages(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[Message]:
    """The newest messages first."""
    return request.state.store.newest(limit)


@app.get("/messages/{message_id}")
async def message(request: Request, message_id: int) -> Message:
    """One message."""
    found = request.state.store.find(message_id)
    if found is None:
        raise HTTPException(404, f"there is no message {message_id}")
    return found


@app.post("/messages", status_code=201)
async def post_message(request: Request, new: NewMessage) -> Message:
    """Add a message; WebSocket clients receive it at once."""
    added = request.state.store.add(new)
    request.state.hub.publish(added.model_dump_json())
    return added


@app.get("/stream")
async def stream(
    chunks: Annotated[int, Query(ge=1, le=100)] = 10,
    pause_ms: Annotated[int, Query(ge=0, le=1000)] = 50,
) -> StreamingResponse:
    """A clock: `chunks` lines of JSON, one every `pause_ms` milliseconds."""

    async def ticks() -> AsyncIterator[str]:
        started = time.monotonic()
        for number in range(1, chunks + 1):
            elapsed = round((time.monotonic() - started) * 1000)
            yield json.dumps({"tick": number, "of": chunks, "elapsed_ms": elapsed}) + "\n"
            if number < chunks:
                await asyncio.sleep(pause_ms / 1000)

    return StreamingResponse(ticks(), media_type="application/x-ndjson")


@app.post("/upload")
async def upload(request: Request) -> Upload:
    """Count and hash the body as it arrives, without keeping it."""
    size = pieces = 0
    digest = hashlib.sha256()
    async for piece in request.stream():
        if piece:
            size += len(piece)
            pieces += 1
            digest.update(piece)
    return Upload(bytes=size, pieces=pieces, sha256=digest.hexdigest())


@app.websocket("/ws")
async def live(websocket: WebSocket) -> None:
    """Every text a client sends goes to all clients, itself included; so does every new message."""
    hub: Hub = websocket.state.hub
    await websocket.accept()
    with hub.subscription() as queue:
        forwarder = asyncio.create_task(_forward(queue, websocket))
        try:
            while (event := await websocket.receive())["type"] == "websocket.receive":
                if event.get("text") is None:
                    await websocket.close(1003, "text only")
                    break
                hub.publish(event["text"])
        finally:
            forwarder.cancel()
            # The client may have left while a text was on its way: that is no error.
            await asyncio.gather(forwarder, return_exceptions=True)


async def _forward(queue: asyncio.Queue[str], websocket: WebSocket) -> None:
    while True:
        await websocket.send_text(await queue.get())
