#!/usr/bin/env python3
"""The finished program serves an application on a machine with pure cgroup v2, from its start to a graceful end.

Runs inside the virtual machine (`make test-v2`), and on any other machine on which every controller is on v2.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import hosting  # noqa: E402
import toml_text  # noqa: E402

# Emulated processors are slow; nothing here is measured.
SECONDS = 60.0
REQUESTS = 50


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        file, state = Path(folder, "serpentry.toml"), Path(folder, "state")
        apps = Path(__file__).resolve().parent / "apps"
        hello = {"app": "hello:application", "directory": str(apps), "python": sys.executable, "workers": 2}
        settings = {"listen": ["127.0.0.1:0"], "state": str(state)}
        file.write_text(toml_text.document(settings, {"hello": hello | {"routes": ["/"]}}))
        host = hosting.Host(ROOT / "target/release/serpentry", file, state)
        try:
            host.wait_until_ready(SECONDS)
            answers = ask(host.address)
            workers = set(host.serving_pids("hello"))
            stopped = host.stop(SECONDS)
        finally:
            host.kill()
            print(host.output(), end="")
    pids = {answer["pid"] for answer in answers}
    assert pids <= workers, f"answered by {pids}, which are not the workers {workers}"
    cgroups = {answer["cgroup"].strip() for answer in answers}
    # One line `0::/path`: no process of this machine is in a hierarchy of version 1.
    assert all(len(text.splitlines()) == 1 and text.startswith("0::/") for text in cgroups), cgroups
    print(f"{len(answers)} requests answered by {len(pids)} of {len(workers)} workers in {sorted(cgroups)}")
    print(f"ended in {stopped:.1f} s")
    return 0


def ask(address: tuple[str, int] | str) -> list[dict[str, object]]:
    """Requests on one connection, each checked."""
    assert isinstance(address, tuple)
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    answers = []
    for number in range(REQUESTS):
        connection.request("GET", f"/{number}")
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"request {number}: {answer.status} {body!r}"
        answers.append(json.loads(body))
        assert answers[-1]["hello"] == f"/{number}", answers[-1]
    connection.close()
    return answers


if __name__ == "__main__":
    sys.exit(main())
