"""The laboratory's WSGI application. Routes and bounds are in probe_work.py."""

import time

import probe_work as work


def respond(start_response, status, text):
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def app(environ, start_response):
    path = environ.get("PATH_INFO") or "/"
    try:
        given = work.parse(path, environ.get("QUERY_STRING", ""))
    except KeyError:
        return respond(start_response, "404 Not Found", f"the probe application knows {' '.join(work.BOUNDS)}\n")
    except work.BadRequest as error:
        return respond(start_response, "400 Bad Request", f"{error}\n")
    if path == "/big":
        pieces = work.pieces(given)
        size = sum(map(len, pieces))
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
        return iter(pieces)
    work.begin()
    try:
        status, text = "200 OK", run(path, given)
    except work.BadRequest as error:
        status, text = "507 Insufficient Storage", f"{error}\n"
    work.finish()
    return respond(start_response, status, text)


def run(path, given):
    if path == "/cpu":
        return f"{work.cpu(given['ms']):.3f}\n"
    if path == "/io":
        time.sleep(given["ms"] / 1e3)
        return "waited\n"
    if path == "/hold":
        time.sleep(given["s"])
        return "held\n"
    if path == "/log":
        time.sleep(given["ms"] / 1e3)
        return f"{work.log(given['fsync'], given['to']):.3f}\n"
    if path == "/file":
        return f"{work.file(given['kb'])}\n"
    if path == "/mem":
        memory = work.touched(given["mb"] << 20)
        time.sleep(given["ms"] / 1e3)
        return f"{len(memory)}\n"
    if path == "/leak":
        return f"{work.leak(given['kb'], given['clear'])}\n"
    if path == "/pid":
        return work.status() + "\n"
    return "probe\n"
