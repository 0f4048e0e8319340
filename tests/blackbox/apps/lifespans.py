"""ASGI applications that differ in what they do with lifespan."""

from notes import note


async def answer(send, text="ok"):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def failed(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is not there"})


async def raises(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError("lifespan is not for me")
    await answer(send, "state" in scope and str(scope["state"]) or "no state")


async def returns(scope, receive, send):
    """Returns at once from lifespan: no support, no error."""
    if scope["type"] == "http":
        await answer(send)


async def refuses(scope, receive, send):
    """The usual assertion of applications that know HTTP only."""
    assert scope["type"] == "http"
    await answer(send)


async def slow(scope, receive, send):
    import asyncio

    if scope["type"] == "lifespan":
        await receive()
        await asyncio.sleep(0.5)
        note("startup finished")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(0.3)
        note("shutdown finished")
        await send({"type": "lifespan.shutdown.complete"})
        return
    note("request")
    await answer(send)


async def shutdown_raises(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        note("shutdown begins")
        raise RuntimeError("at shutdown")
    await answer(send)


class Legacy:
    """ASGI 2: a class of one scope. Not ASGI 3: nobody has to serve it, but it must not pass for WSGI."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await answer(send)
