"""The plainest applications: `app` (WSGI) and `asgi`, which say as JSON what they were asked and who they are.

Behaviour by path, for both: /slow?seconds=S, /grow?mib=N (keeps the memory), /print?text=T&lines=N, /exit, /fail
(raises), /wait?for=FILE (notes "waiting", answers when FOLDER/FILE exists). Anything else: the answer alone.
NAME and MARK of the environment come back in each answer. For the tests of the host and for the drills.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from urllib.parse import parse_qs

IMPORTED_BY = os.getpid()
KEPT = []


def facts(root, path, query, host, body=b""):
    """What every application of this folder answers."""
    return {
        "app": os.environ.get("NAME", ""),
        "mark": os.environ.get("MARK", ""),
        "root": root,
        "path": path,
        "query": query,
        "host": host,
        "body": hashlib.sha256(body).hexdigest() if body else "",
        "pid": os.getpid(),
        "imported_by": IMPORTED_BY,
        "python": "%d.%d" % sys.version_info[:2],
    }


def act(path, query):
    """Do what the path says; returns the seconds to wait before the answer."""
    words = {name: values[0] for name, values in parse_qs(query).items()}
    if path == "/slow":
        return float(words["seconds"])
    if path == "/grow":
        # Written to: memory that was only reserved is not resident.
        KEPT.append(bytearray(os.urandom(1024) * 1024 * int(words["mib"])))
    elif path == "/print":
        for number in range(int(words.get("lines", "1"))):
            print(words["text"], number)
    elif path == "/exit":
        os._exit(3)
    elif path == "/fail":
        raise RuntimeError("failed on purpose")
    elif path == "/wait":
        from notes import note, wait_for_file

        note("waiting")
        wait_for_file(words["for"], 60)
    return 0


def app(environ, start_response):
    """WSGI."""
    body = environ["wsgi.input"].read()
    path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
    time.sleep(act(path, query))
    answer = facts(environ.get("SCRIPT_NAME", ""), path, query, environ.get("HTTP_HOST"), body)
    data = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


async def asgi(scope, receive, send):
    """ASGI 3. `path` holds the root path (ASGI 3, HTTP scope), so it is taken off."""
    if scope["type"] != "http":
        raise RuntimeError("only http")
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    root = scope.get("root_path", "")
    path, query = scope["path"], scope["query_string"].decode()
    inside = path[len(root) :] if root and path.startswith(root) else path
    await asyncio.sleep(act(inside, query))
    host = dict(scope["headers"]).get(b"host", b"").decode()
    data = json.dumps({**facts(root, inside, query, host, body), "scope_path": path}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
