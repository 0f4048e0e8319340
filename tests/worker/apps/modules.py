"""Says which modules its process has loaded."""

import sys


def app(environ, start_response):
    start_response("200 OK", [])
    return ["\n".join(sys.modules).encode()]
