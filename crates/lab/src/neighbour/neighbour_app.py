"""A neighbour: a tenant that does nothing but what the laboratory tells its child, which is in its control group.

The child is the laboratory's own program; it connects to LAB_SOCKET, and ends with this process or with the laboratory.
"""

import os
import subprocess

child = subprocess.Popen(
    [os.environ["LAB_PROGRAM"], "lab", "neighbour", os.environ["LAB_SOCKET"], os.environ["LAB_NAME"]],
    stdin=subprocess.DEVNULL,
)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a neighbour\n"]
