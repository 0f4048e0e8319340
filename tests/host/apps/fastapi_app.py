"""FastAPI (so Starlette) below a prefix: the same facts, `url_path_for`, a redirect."""

import plain
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse

app = FastAPI()


@app.get("/away")
async def away(request: Request):
    return RedirectResponse(str(request.url_for("page", rest="arrived").path), 302)


@app.get("/missing")
async def missing():
    return PlainTextResponse("fastapi has no such page", 404)


@app.api_route("/{rest:path}", methods=["GET", "POST"], name="page")
async def page(request: Request, rest: str):
    root = request.scope.get("root_path", "")
    path = request.scope["path"]
    inside = path[len(root) :] if root and path.startswith(root) else path
    found = plain.facts(
        root, inside, request.url.query, request.headers.get("host"), await request.body()
    )
    return {**found, "url": request.url_for("page", rest=rest).path, "framework": "fastapi"}
