"""WSGI with two service times: /fast sleeps 5 ms, /slow sleeps 100 ms. The load generator chooses."""

import time

FAST_SECONDS = 0.005
SLOW_SECONDS = 0.100


def app(environ, start_response):
    time.sleep(SLOW_SECONDS if environ["PATH_INFO"] == "/slow" else FAST_SECONDS)
    body = b"done\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
