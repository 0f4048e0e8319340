"""What the demonstration does with each example: the requests and the answers they must give.

One function per example. Each takes a client that is connected to the running
application and raises WrongAnswer at the first wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time

from demo_client import Client, WrongAnswer
from websocket_client import WebSocket, WebSocketError

STREAM_CHUNKS = 10
STREAM_PAUSE_MS = 50
UPLOAD_BYTES = 5 * 1024 * 1024


def visit_shop(client: Client, nth: int) -> None:
    """Look at the shop, fill the basket, forget the address, order."""
    client.get("/", contains="Cast-iron pan", content_type="text/html")
    client.get("/", contains=f'href="{client.prefix}/static/style.css"')
    client.get("/static/style.css", contains=".products", content_type="text/css")
    client.get("/product/3", contains="49.90 \N{EURO SIGN}")
    client.get("/product/999", status=404, contains="nothing at this address")
    client.post_form("/basket", {"product": "3", "quantity": "2"}, status=303, location="/basket")
    client.post_form("/basket", {"product": "4", "quantity": "1"}, status=303, location="/basket")
    client.get("/basket", contains="112.30 \N{EURO SIGN}")
    buyer = {"name": "Ada Lovelace", "email": "ada@example.org", "address": ""}
    client.post_form("/checkout", buyer, status=422, contains="Please fill in your address.")
    buyer["address"] = "12 St James's Square, London"
    client.post_form("/checkout", buyer, status=303, location="/thanks")
    client.get("/thanks", contains=f"Your order has number {nth}.")
    client.get("/basket", contains="Nothing here yet.")
    client.get("/product/3", contains=f"{25 - 2 * nth} in stock")
    client.get("/healthz", contains='"ok"', content_type="application/json")


def visit_site(client: Client, nth: int, password: str) -> None:
    """Read the guestbook, write into it, log in to the admin as `demo` and find the entry there."""
    first = "The first page of a new book" if nth == 1 else "Hello from the demonstration"
    client.get("/", contains=first, content_type="text/html")
    client.get("/", contains=f'href="{client.prefix}/static/guestbook/style.css"')
    form = client.get("/new/", contains="csrfmiddlewaretoken")
    entry = {"name": "Linus", "message": "Hello from the demonstration <3"}
    client.post_form("/new/", entry, status=403, contains="CSRF")
    written = client.post_form("/new/", entry | {"csrfmiddlewaretoken": _csrf_token(form.text)}, status=302)
    client.get(client.inside(written.headers["Location"]), contains="Hello from the demonstration &lt;3")

    client.get("/admin/", status=302, location=f"/admin/login/?next={client.prefix}/admin/")
    client.get("/static/admin/css/base.css", contains="DJANGO Admin", content_type="text/css")
    login = client.get("/admin/login/", contains="Django administration")
    credentials = {
        "username": "demo",
        "password": password,
        "csrfmiddlewaretoken": _csrf_token(login.text),
        "next": f"{client.prefix}/admin/",
    }
    client.post_form("/admin/login/", credentials, status=302, location="/admin/")
    client.get("/admin/", contains="Site administration")
    client.get("/admin/guestbook/entry/", contains="Hello from the demonstration &lt;3")
    by_name = Client(client.host, client.port, authority="site.localhost")
    try:
        by_name.get("/", contains='href="/static/guestbook/style.css"')
    finally:
        by_name.close()
    client.milliseconds += by_name.milliseconds


def visit_feed(client: Client, nth: int) -> None:
    """Use the JSON API, the streamed answer, the streamed upload and the WebSocket."""
    # The latest twenty are shown, and each visit leaves two.
    oldest = "The feed is open." if nth < 10 else '"posted_at"'
    client.get("/messages", contains=oldest, content_type="application/json")
    message = {"author": "Ada", "text": "Hello"}
    posted = client.post_json("/messages", message, status=201, contains="Hello")
    client.get(f"/messages/{posted.json()['id']}", contains='"author":"Ada"')
    client.get("/messages/999", status=404, contains="there is no message 999")
    client.post_json("/messages", {"author": ""}, status=422, contains="Field required")
    client.get("/docs", contains=f"url: '{client.prefix}/openapi.json'", content_type="text/html")
    _visit_stream(client)
    _visit_upload(client)
    _visit_websocket(client)
    client.get("/healthz", contains='"status":"ok"')


def _csrf_token(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if found is None:
        raise WrongAnswer("the form has no CSRF token")
    return found[1]


def _visit_stream(client: Client) -> None:
    answer = client.get(
        f"/stream?chunks={STREAM_CHUNKS}&pause_ms={STREAM_PAUSE_MS}", contains=f'"tick": {STREAM_CHUNKS}'
    )
    print("        chunks came after " + " ".join(f"{at:.0f}" for at in answer.arrivals) + " ms")
    if len(answer.arrivals) != STREAM_CHUNKS:
        raise WrongAnswer(f"/stream: {len(answer.arrivals)} chunks instead of {STREAM_CHUNKS}")
    # The application takes at least this long between the first and the last chunk. Half of it leaves room
    # for a busy machine; an answer that was collected before it was sent has nearly none of it.
    least = (STREAM_CHUNKS - 1) * STREAM_PAUSE_MS / 2
    if answer.arrivals[-1] - answer.arrivals[0] < least:
        raise WrongAnswer("/stream: the chunks came all at once: the answer was not streamed")


def _visit_upload(client: Client) -> None:
    body = os.urandom(UPLOAD_BYTES)
    headers = {"Content-Type": "application/octet-stream"}
    received = client.request("POST", "/upload", body, headers, contains=f'"bytes":{UPLOAD_BYTES}').json()
    print(f"        the application read it in {received['pieces']} pieces")
    if received["sha256"] != hashlib.sha256(body).hexdigest():
        raise WrongAnswer("/upload: the application received other bytes than were sent")


def _visit_websocket(client: Client) -> None:
    """Two clients: each must see what the other sends, and a message posted over HTTP."""
    started = time.monotonic()
    sender: WebSocket | None = None
    listener: WebSocket | None = None
    try:
        sender = WebSocket(client.host, client.port, f"{client.prefix}/ws")
        # The echo proves that the sender is subscribed before anything else is published.
        size = _broadcast(sender, [sender], "one")
        listener = WebSocket(client.host, client.port, f"{client.prefix}/ws")
        size += _broadcast(listener, [listener, sender], "two, \N{SNAKE}")
        size += _broadcast(sender, [sender, listener], "three " * 50)
        client.post_json("/messages", {"author": "Grace", "text": "live"}, status=201, contains="live")
        for socket in (sender, listener):
            if json.loads(socket.receive())["text"] != "live":
                raise WrongAnswer("/ws: the posted message did not arrive")
        codes = [sender.close(), listener.close()]
    except (OSError, WebSocketError) as error:
        raise WrongAnswer(f"/ws: {error}") from error
    finally:
        for opened in (sender, listener):
            if opened is not None:
                opened.abort()
    if codes != [1000, 1000]:
        raise WrongAnswer(f"/ws: closed with {codes} instead of 1000")
    client.milliseconds.append((time.monotonic() - started) * 1000)
    client.print_line("WS", f"{client.prefix}/ws", "101", size, "two clients, 4 texts, closed with 1000")


def _broadcast(sender: WebSocket, receivers: list[WebSocket], text: str) -> int:
    sender.send(text)
    for receiver in receivers:
        received = receiver.receive()
        if received != text:
            raise WrongAnswer(f"/ws: {received!r} came instead of {text!r}")
    return len(text.encode()) * len(receivers)
