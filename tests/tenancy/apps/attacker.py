"""The hostile application: `/attack/NAME?argument=...` makes one attempt and answers as JSON what came of it.

Every attempt answers `got`: true if it got through (it read what it should not, used more than the limit, reached
what it should not reach), with `errno` (a name such as EPERM) or figures beside it. `absent` says that this machine
has nothing to attack. What counts as held is for the test to say, not for this application, which is as naive as
hostile code is. Every attempt is bounded by its own arguments, whatever the host does.

Also: `/who`, `/page` (a polite answer), `/stream` (bytes without end), `/upload` (reads the body).
"""

import json
import os
from urllib.parse import parse_qsl

import burn_cpu
import fill_disk
import fill_memory
import multiply
import probe_files
import probe_kernel
import probe_network
import probe_processes
import spoil_frames

ATTACKS = {
    name.replace("_", "-"): function
    for module in (
        burn_cpu,
        fill_disk,
        fill_memory,
        multiply,
        probe_files,
        probe_kernel,
        probe_network,
        probe_processes,
        spoil_frames,
    )
    for name, function in module.ATTACKS.items()
}
STREAM_CHUNK = b"x" * 65536


def app(environ, start_response):
    """WSGI."""
    path = environ["PATH_INFO"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return stream(dict(parse_qsl(environ["QUERY_STRING"])))
    if path == "/upload":
        answer = upload(environ["wsgi.input"])
    elif path.startswith("/attack/"):
        arguments = dict(parse_qsl(environ["QUERY_STRING"]))
        answer = ATTACKS[path.removeprefix("/attack/")](arguments)
    else:
        answer = {"name": os.environ.get("NAME", "")}
    body = json.dumps({"pid": os.getpid(), **answer}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def stream(arguments):
    """So many MiB, as fast as they are taken."""
    for _ in range(int(arguments.get("mib", "64")) * 16):
        yield STREAM_CHUNK


def upload(body):
    """Read all of it."""
    count = 0
    while data := body.read(262144):
        count += len(data)
    return {"bytes": count}
