"""A FastAPI application that uses what FastAPI applications use, and a Starlette one mounted in it."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import StreamingResponse
from notes import note
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(app):
    note("fastapi startup")
    yield {"pool": "a pool of connections"}
    note("fastapi shutdown")


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-middleware"] = "seen"
        return response


class Item(BaseModel):
    name: str
    price: float = Field(gt=0)


app = FastAPI(lifespan=lifespan)
app.add_middleware(Timing)
app.add_middleware(GZipMiddleware, minimum_size=1000)


async def current_user(request: Request):
    if request.headers.get("authorization") != "Bearer good":
        raise HTTPException(401, "who are you")
    return "user"


@app.post("/items", status_code=201)
async def create(item: Item):
    return {"created": item.name, "price": item.price}


@app.get("/me")
async def me(user: str = Depends(current_user)):
    return {"user": user}


@app.get("/blocking")
def blocking():
    """Not async: it runs in a thread pool."""
    import threading

    return {"main thread": threading.current_thread() is threading.main_thread()}


@app.get("/state")
async def state(request: Request):
    return {"pool": request.state.pool}


@app.get("/stream")
async def stream(rows: int):
    async def lines():
        for number in range(rows):
            yield f"row {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/endless")
async def endless():
    async def lines():
        try:
            while True:
                yield "x" * 1000
                await asyncio.sleep(0.001)
        finally:
            note("endless ended")

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.get("/big")
async def big():
    return PlainTextResponse("a" * 100_000)


@app.post("/background")
async def background(tasks: BackgroundTasks, tag: str):
    async def later():
        await asyncio.sleep(0.2)
        note(f"task {tag}")

    tasks.add_task(later)
    return {"accepted": tag}


@app.post("/upload")
async def upload(file: UploadFile = File(), remark: str = Form()):
    data = await file.read()
    return {
        "name": file.filename,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "remark": remark,
    }


@app.get("/crash")
async def crash():
    raise RuntimeError("fastapi crash")


@app.websocket("/ws/{room}")
async def room(socket: WebSocket, room: str):
    if room == "closed":
        await socket.close(4003)
        return
    await socket.accept()
    try:
        while True:
            value = await socket.receive_json()
            await socket.send_json({"room": room, "value": value})
    except WebSocketDisconnect as left:
        note(f"left {room} {left.code}")


async def plain(request):
    return PlainTextResponse(f"starlette {request.url.path} {request.scope['root_path']}")


app.mount("/starlette", Starlette(routes=[Route("/plain", plain)]))
