"""A WSGI application with one route per behaviour that test_wsgi.py looks at. Standard library only."""

import json
import os
import sys
from urllib.parse import parse_qs
from wsgiref.validate import validator

from notes import note, wait_for_file

TEXT = [("Content-Type", "text/plain")]


def reply(start_response, value, status="200 OK"):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def query(environ):
    return {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}


def environ_(environ, start_response):
    shown = {
        key: [type(value).__name__, value if isinstance(value, (str, bool, int)) else repr(value)]
        for key, value in environ.items()
    }
    shown["wsgi.version"] = ["tuple", list(environ["wsgi.version"])]
    shown["exactly a dict"] = ["bool", type(environ) is dict]
    shown["errors methods"] = [
        "list",
        [
            name
            for name in ("write", "writelines", "flush")
            if callable(getattr(environ["wsgi.errors"], name, None))
        ],
    ]
    return reply(start_response, shown)


def echo(environ, start_response):
    return reply(start_response, environ["wsgi.input"].read())


def input_(environ, start_response):
    """Runs ?ops=read:3,readline,iter,... on wsgi.input and answers the list of results."""
    stream, results = environ["wsgi.input"], []
    for operation in query(environ)["ops"].split(","):
        name, _, argument = operation.partition(":")
        arguments = [int(argument)] if argument else []
        value = list(stream) if name == "iter" else getattr(stream, name)(*arguments)
        results.append(
            [line.decode("latin-1") for line in value] if isinstance(value, list) else value.decode("latin-1")
        )
    return reply(start_response, results)


def pid(environ, start_response):
    return reply(start_response, os.getpid())


def write(environ, start_response):
    writer = start_response("200 OK", TEXT)
    writer(b"first ")
    writer(b"second ")
    return [b"third"]


def exc_info_before(environ, start_response):
    start_response("200 OK", TEXT + [("X-First", "yes")])
    try:
        raise ValueError("the first answer is withdrawn")
    except ValueError:
        start_response("418 Teapot", TEXT + [("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


def exc_info_after(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"sent"
    try:
        raise ValueError("too late for another answer")
    except ValueError:
        try:
            start_response("500 Oops", TEXT, sys.exc_info())
            note("exc_info accepted")
        except ValueError:
            note("exc_info re-raised")
            raise


def start_twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"unreachable"]


class Closing:
    """An iterable that notes its close()."""

    def __init__(self, tag, chunks):
        self.tag, self.chunks = tag, chunks

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        note(f"closed {self.tag}")


def close(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(query(environ)["tag"], [b"one", b"two"])


def close_error(environ, start_response):
    def chunks():
        yield b"one"
        raise RuntimeError("in the middle")

    start_response("200 OK", TEXT)
    return Closing(query(environ)["tag"], chunks())


def close_endless(environ, start_response):
    def chunks():
        for _ in range(100_000):
            yield b"x" * 65536

    start_response("200 OK", TEXT)
    return Closing(query(environ)["tag"], chunks())


def close_raises(environ, start_response):
    class Bad(list):
        def close(self):
            raise RuntimeError("close() itself fails")

    start_response("200 OK", TEXT + [("Content-Length", "2")])
    return Bad([b"ok"])


def lazy(environ, start_response):
    """The second chunk comes when the test says so."""
    start_response("200 OK", TEXT)
    yield b"first"
    yield b"second" if wait_for_file(query(environ)["file"]) else b"timed out"


def lazy_write(environ, start_response):
    """write() must hand its bytes on before it returns control for long (PEP 3333, unbuffered)."""
    writer = start_response("200 OK", TEXT)
    writer(b"first")
    return [b"second" if wait_for_file(query(environ)["file"]) else b"timed out"]


def shapes(environ, start_response):
    """?as=list1|list2|tuple1|generator|empty|empties: the shapes an application iterable comes in."""
    start_response("200 OK", TEXT)
    return {
        "list1": lambda: [b"hello"],
        "list2": lambda: [b"hel", b"lo"],
        "tuple1": lambda: (b"hello",),
        "generator": lambda: (part for part in (b"hel", b"lo")),
        "empty": lambda: [],
        "empties": lambda: (part for part in (b"", b"hel", b"", b"lo", b"")),
    }[query(environ)["as"]]()


def file(environ, start_response):
    path = os.path.join(os.environ["FOLDER"], query(environ)["file"])
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in query(environ):
        headers.append(("Content-Length", str(os.path.getsize(path))))
    start_response("200 OK", headers)
    opened = open(path, "rb")
    opened.seek(int(query(environ).get("seek", "0")))
    return environ["wsgi.file_wrapper"](opened, 8192)


def file_object(environ, start_response):
    """A wrapper around something that is no real file and must be closed."""

    class Source:
        parts = [b"abc", b"def", b""]

        def __init__(self):
            self.left = list(self.parts)

        def read(self, size=-1):
            return self.left.pop(0)

        def close(self):
            note("closed source")

    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](Source(), 3)


def status(environ, start_response):
    """/status?line=204 No Content&body=...&length=...: any status with any body."""
    wanted = query(environ)
    headers = list(TEXT)
    if "length" in wanted:
        headers.append(("Content-Length", wanted["length"]))
    start_response(wanted["line"], headers)
    return [wanted.get("body", "").encode()]


def cookies(environ, start_response):
    body = environ.get("HTTP_COOKIE", "none").encode()
    start_response(
        "200 OK",
        [
            ("Content-Length", str(len(body))),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-Latin", "caf\xe9"),
        ],
    )
    return [body]


def own_date(environ, start_response):
    start_response(
        "200 OK", [("Content-Length", "0"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "mine")]
    )
    return []


def hop(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "2"), ("Connection", "close")])
    return [b"ok"]


def errors(environ, start_response):
    print("a line for wsgi.errors", file=environ["wsgi.errors"])
    environ["wsgi.errors"].writelines(["and ", "another\n"])
    environ["wsgi.errors"].flush()
    return reply(start_response, "noted")


def not_reading(environ, start_response):
    return reply(start_response, "body ignored")


def read_caught(environ, start_response):
    try:
        body = environ["wsgi.input"].read()
        note(f"whole body {len(body)}")
    except Exception as error:
        note(f"read error {type(error).__mro__[-3].__name__}")
        raise
    return reply(start_response, len(body))


def simple_app(environ, start_response):
    body = b"validated " + environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else body
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


ROUTES = {
    "/environ": environ_,
    "/echo": echo,
    "/input": input_,
    "/pid": pid,
    "/write": write,
    "/exc-info-before": exc_info_before,
    "/exc-info-after": exc_info_after,
    "/start-twice": start_twice,
    "/close": close,
    "/close-error": close_error,
    "/close-endless": close_endless,
    "/close-raises": close_raises,
    "/lazy": lazy,
    "/lazy-write": lazy_write,
    "/shapes": shapes,
    "/file": file,
    "/file-object": file_object,
    "/status": status,
    "/cookies": cookies,
    "/own-date": own_date,
    "/hop": hop,
    "/errors": errors,
    "/not-reading": not_reading,
    "/read-caught": read_caught,
    "/validated": validator(simple_app),
}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/bad/"):
        from wsgi_bad import BAD

        return BAD[path[len("/bad/") :]](environ, start_response)
    if path.startswith("/environ"):
        return environ_(environ, start_response)
    return ROUTES[path](environ, start_response)
