"""Both probe applications, each route: `check.py DIRECTORY`. WSGI under wsgiref.validate, ASGI with a server of a few lines
that refuses what the specification does not allow. Same answers from both. Prints what it did; an assertion ends it."""

import asyncio
import io
import json
import os
import sys
import time
import wsgiref.util
import wsgiref.validate

sys.path.insert(0, sys.argv[1])
os.chdir(sys.argv[1])
import probe_asgi
import probe_work
import probe_wsgi


def wsgi(path, query=""):
    environ = {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
    wsgiref.util.setup_testing_defaults(environ)
    environ["SCRIPT_NAME"] = ""
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((int(status[:3]), dict(headers)))
        return lambda data: None

    result = wsgiref.validate.validator(probe_wsgi.app)(environ, start_response)
    body = b"".join(result)
    result.close()
    return check(started[0][0], started[0][1]["Content-Length"], body)


def asgi(path, query=""):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        assert not sent or sent[-1].get("more_body", True), "a message after the last one"
        assert (message["type"] == "http.response.start") == (not sent), message
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "path": path, "query_string": query.encode()}
    asyncio.run(probe_asgi.app(scope, receive, send))
    headers = dict(sent[0]["headers"])
    assert all(type(part) is bytes for pair in sent[0]["headers"] for part in pair)
    assert not sent[-1].get("more_body", False), "the answer has no end"
    return check(sent[0]["status"], headers[b"content-length"], b"".join(m["body"] for m in sent[1:]))


def check(status, length, body):
    assert int(length) == len(body), (length, len(body))
    return status, body


def timed(call, *arguments):
    """Answer, seconds, processor seconds."""
    start, cpu = time.perf_counter(), time.thread_time()
    answer = call(*arguments)
    return answer, time.perf_counter() - start, time.thread_time() - cpu


def routes(get):
    assert get("/") == (200, b"probe\n")
    assert get("/nothing")[0] == 404
    (status, body), _, cpu = timed(get, "/cpu", "ms=30")
    assert status == 200 and 30 <= float(body) < 40 and cpu >= 0.03, (body, cpu)
    for path, query in (("/io", "ms=60"), ("/hold", "s=0.06"), ("/mem", "mb=1&ms=60")):
        (status, _), seconds, cpu = timed(get, path, query)
        assert status == 200 and seconds >= 0.06 and cpu < 0.03, (path, seconds, cpu)
    assert get("/mem", "mb=3")[1] == b"%d\n" % (3 << 20)
    before = os.path.getsize("probe.log") if os.path.exists("probe.log") else 0
    assert get("/log", "fsync=1")[0] == get("/log")[0] == 200
    assert os.path.getsize("probe.log") > before
    assert get("/file", "kb=65") == (200, b"66560\n")
    assert get("/leak", "kb=8&clear=1") == (200, b"8192\n") and get("/leak", "kb=1") == (200, b"9216\n")
    status = json.loads(get("/pid")[1])
    assert status["pid"] == os.getpid() and status["leaked_bytes"] == 9216 and status["cpu_seconds"] > 0
    # The request for the figures itself has begun.
    assert status["begun"] == status["finished"] + 1, status
    assert get("/big", "mb=2") == (200, bytes(2 << 20))
    assert get("/big", "mb=0") == (200, b"") and get("/big", "mb=0&kb=65") == (200, bytes(65 << 10))


def bounds(get):
    for path, allowed in probe_work.BOUNDS.items():
        assert get(path, "unknown=1")[0] == 400
        for name, (_, low, high) in allowed.items():
            for value in (low - 1, high + 1, "x", "", "nan", "1e999", "-inf", "9" * 5_000):
                start = time.perf_counter()
                assert get(path, f"{name}={value}")[0] == 400, (path, name, value)
                assert time.perf_counter() - start < 0.5
    probe_work.leak(0, 1)
    most, probe_work.MOST_LEAKED = probe_work.MOST_LEAKED, 10_000
    assert get("/leak", "kb=9")[0] == 200 and get("/leak", "kb=9")[0] == 507
    probe_work.MOST_LEAKED = most
    probe_work.leak(0, 1)


async def together():
    """Ten waits take as long as one: with await, and in the pool."""

    async def send(_):
        pass

    for query in (b"ms=100", b"ms=100&pool=1"):
        start = time.perf_counter()
        scope = {"type": "http", "path": "/io", "query_string": query}
        await asyncio.gather(*(probe_asgi.app(scope, None, send) for _ in range(10)))
        assert time.perf_counter() - start < 0.8, query


async def lifespan():
    events, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def receive():
        return events.pop(0)

    async def send(message):
        sent.append(message["type"])

    await probe_asgi.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"], sent


for interface in (wsgi, asgi):
    routes(interface)
    bounds(interface)
asyncio.run(together())
asyncio.run(lifespan())
left = {name for name in os.listdir(".") if name.endswith(".py") or name == "probe.log"} ^ set(os.listdir("."))
assert left <= {"__pycache__"}, left
print("all routes of both applications")
