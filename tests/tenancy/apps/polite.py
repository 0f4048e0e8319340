"""The neighbour: answers at once, with what it was given, and does nothing else."""

import json
import os


def app(environ, start_response):
    """WSGI."""
    body = json.dumps({"name": os.environ.get("NAME", ""), "pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
