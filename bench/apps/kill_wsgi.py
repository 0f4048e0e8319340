"""WSGI for the kill test: GET answers after 1 ms, POST reads its body first and answers with its length.

The millisecond makes sure that a killed worker nearly always has a request in hand.
"""

import time


def app(environ, start_response):
    body = b"alive\n"
    if environ["REQUEST_METHOD"] == "POST":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = b"%d\n" % len(environ["wsgi.input"].read(length))
    time.sleep(0.001)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
