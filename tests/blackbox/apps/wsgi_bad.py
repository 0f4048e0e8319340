"""WSGI routes that break PEP 3333, each in one way: the server must answer 500 or cut, and live on."""

TEXT = [("Content-Type", "text/plain")]


def starts(status="200 OK", headers=TEXT, body=(b"body",)):
    """A route that answers just this, whatever it is."""

    def route(environ, start_response):
        start_response(status, list(headers) if isinstance(headers, list) else headers)
        return body

    return route


def raise_before(environ, start_response):
    raise RuntimeError("raised before start_response")


def raise_after_start(environ, start_response):
    start_response("200 OK", TEXT)
    raise RuntimeError("raised after start_response")


def raise_before_first(environ, start_response):
    start_response("200 OK", TEXT)
    raise RuntimeError("raised before the first chunk")
    yield b""


def raise_after_first(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"first"
    raise RuntimeError("raised after the first chunk")


def raise_after_first_with_length(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "100")])
    yield b"first"
    raise RuntimeError("raised after the first chunk of a known length")


def no_start(environ, start_response):
    return [b"start_response was never called"]


def none(environ, start_response):
    start_response("200 OK", TEXT)
    return None


def system_exit(environ, start_response):
    raise SystemExit(3)


# Answers that must become a plain 500.
ANSWERED_500 = {
    "raise-before": raise_before,
    "raise-after-start": raise_after_start,
    "raise-before-first": raise_before_first,
    "no-start": no_start,
    "none": none,
    "status-not-number": starts("OK"),
    "status-no-reason-digits": starts("20 OK"),
    "status-int": starts(200),
    "status-bytes": starts(b"200 OK"),
    "status-crlf": starts("200 OK\r\nX-Evil: 1"),
    "status-too-big": starts("99999 Big"),
    "header-crlf": starts(headers=TEXT + [("X-A", "a\r\nX-Evil: 1")]),
    "header-lf": starts(headers=TEXT + [("X-A", "a\nX-Evil: 1")]),
    "header-cr": starts(headers=TEXT + [("X-A", "a\rX-Evil: 1")]),
    "header-nul": starts(headers=TEXT + [("X-A", "a\0b")]),
    "header-not-latin1": starts(headers=TEXT + [("X-A", "\u20ac")]),
    "header-name-space": starts(headers=TEXT + [("X A", "a")]),
    "header-name-colon": starts(headers=TEXT + [("X-A:", "a")]),
    "header-name-crlf": starts(headers=TEXT + [("X\r\nX-Evil: 1\r\nX", "a")]),
    "header-name-empty": starts(headers=TEXT + [("", "a")]),
    "header-value-int": starts(headers=TEXT + [("X-A", 1)]),
    "header-value-bytes": starts(headers=TEXT + [("X-A", b"a")]),
    "headers-not-pairs": starts(headers=["X-A: a"]),
    "body-str": starts(body=["text"]),
    "body-int": starts(body=[1]),
    "content-length-text": starts(headers=TEXT + [("Content-Length", "four")]),
    "content-length-negative": starts(headers=TEXT + [("Content-Length", "-4")]),
}
# Answers that can only end in a cut connection, or in a 500 if nothing was sent yet.
CUT = {
    "raise-after-first": raise_after_first,
    "raise-after-first-with-length": raise_after_first_with_length,
    "few-bytes": starts(headers=TEXT + [("Content-Length", "10")]),
    "few-bytes-generator": starts(headers=TEXT + [("Content-Length", "10")], body=(b"a" for _ in ())),
    "str-after-first": starts(body=[b"first", "second"]),
}
BAD = {
    **ANSWERED_500,
    **CUT,
    "system-exit": system_exit,
    "many-bytes": starts(headers=TEXT + [("Content-Length", "2")]),
    "many-bytes-chunks": starts(headers=TEXT + [("Content-Length", "3")], body=[b"ab", b"cd", b"ef"]),
}
