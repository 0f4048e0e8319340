"""Says what it sees of its process."""

import os
import subprocess
import sys


def app(environ, start_response):
    # Any socket here can only be one of the links.
    code = "print([fd for fd in os.listdir('/proc/self/fd') if 'socket' in link(fd)])"
    helper = (
        "def link(fd):\n"
        " try: return os.readlink('/proc/self/fd/' + fd)\n"
        " except OSError: return ''\n"
    )
    command = [sys.executable, "-c", "import os\n" + helper + code]
    child = subprocess.run(command, capture_output=True, text=True, close_fds=False)
    lines = [sys.path[0], "settings" if "SERPENTRY_WORKER" in os.environ else "no settings",
             "links are not inherited" if child.stdout.strip() == "[]" else child.stdout + child.stderr]
    start_response("200 OK", [])
    return ["\n".join(lines).encode()]
