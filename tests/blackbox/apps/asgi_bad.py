"""ASGI routes that break the specification, each in one way."""

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"body"}


def sends(*messages):
    """A route that sends just these messages."""

    async def route(scope, receive, send):
        for message in messages:
            await send(message)

    return route


def starts(**change):
    return sends({**START, **change}, BODY)


async def raise_before(scope, receive, send):
    raise RuntimeError("raised before start")


async def raise_after_start(scope, receive, send):
    await send(START)
    raise RuntimeError("raised after start")


async def raise_after_first(scope, receive, send):
    await send(START)
    await send({**BODY, "body": b"first", "more_body": True})
    raise RuntimeError("raised after the first chunk")


async def nothing(scope, receive, send):
    return


# Nothing was sent before the mistake: a plain 500.
ANSWERED_500 = {
    "raise-before": raise_before,
    "raise-after-start": raise_after_start,
    "nothing": nothing,
    "body-first": sends(BODY, START),
    "start-twice": sends(START, START, BODY),
    "start-only": sends(START),
    "unknown-type": sends({"type": "http.response.nonsense"}),
    "no-type": sends({"status": 200}),
    "not-a-dict": sends("http.response.start"),
    "status-str": starts(status="200"),
    "status-missing": sends({"type": "http.response.start"}, BODY),
    "status-too-big": starts(status=99999),
    "status-interim": starts(status=103),
    "header-str": starts(headers=[("x-a", "b")]),
    "header-not-pair": starts(headers=[b"x-a"]),
    "header-crlf": starts(headers=[(b"x-a", b"a\r\nx-evil: 1")]),
    "header-lf": starts(headers=[(b"x-a", b"a\nx-evil: 1")]),
    "header-nul": starts(headers=[(b"x-a", b"a\0b")]),
    "header-name-space": starts(headers=[(b"x a", b"a")]),
    "header-name-empty": starts(headers=[(b"", b"a")]),
    "content-length-text": starts(headers=[(b"content-length", b"four")]),
    "body-str": sends(START, {**BODY, "body": "text"}),
    "body-int": sends(START, {**BODY, "body": 1}),
    "websocket-message": sends({"type": "websocket.accept"}),
}
# Something was sent before: only a cut connection tells the client, or a 500 if it was held back.
CUT = {
    "raise-after-first": raise_after_first,
    "more-to-come": sends(START, {**BODY, "body": b"first", "more_body": True}),
    "str-after-first": sends(
        START, {**BODY, "body": b"first", "more_body": True}, {**BODY, "body": "second"}
    ),
    "few-bytes": starts(headers=[(b"content-length", b"10")]),
}
BAD = {
    **ANSWERED_500,
    **CUT,
    "many-bytes": starts(headers=[(b"content-length", b"2")]),
    "body-after-end": sends(START, BODY, {**BODY, "body": b"surplus"}),
}
