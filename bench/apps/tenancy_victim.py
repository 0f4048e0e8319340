"""The application whose latency is measured: the same small piece of work for each request, some 4 ms of CPU."""

WORK = 60_000


def app(environ, start_response):
    """WSGI. `/work` works; anything else answers at once."""
    if environ["PATH_INFO"] == "/work":
        total = 0
        for number in range(WORK):
            total += number & 7
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"done"]
