"""An application that does whatever the path says, for tests of how it is explained."""

import os
import time


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/pid":
        pass
    elif path.startswith("/wait/"):
        time.sleep(float(path.removeprefix("/wait/")))
    elif path.startswith("/signal/"):
        os.kill(os.getpid(), int(path.removeprefix("/signal/")))
        time.sleep(60)
    elif path.startswith("/exit/"):
        os._exit(int(path.removeprefix("/exit/")))
    elif path.startswith("/eat/"):
        eaten = [b"x" * 2**20 for _ in range(int(path.removeprefix("/eat/")))]
        time.sleep(len(eaten) * 0)
    elif path.startswith("/raise"):
        raise RuntimeError("\x1b]0;owned\x07<script>")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
