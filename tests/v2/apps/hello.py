"""Says hello, who serves, and where the kernel keeps that process."""

import json
import os


def application(environ, start_response):
    with open("/proc/self/cgroup") as file:
        cgroup = file.read()
    body = json.dumps({"hello": environ["PATH_INFO"], "pid": os.getpid(), "cgroup": cgroup}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
