async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "websocket.accept"})
    text = f"{scope['type']} {scope['scheme']} {scope['subprotocols']} {'method' in scope}"
    await send({"type": "websocket.send", "text": text})
