#!/usr/bin/env python3
"""The control interface against its own OpenAPI document: schemathesis calls a live server and judges every answer.

    python3 tests/control/run.py [FAKE_HOST]

FAKE_HOST is the program of crates/serpentry/examples/fake_host.rs; it is built if it is not given. The virtual
environment is target/control/venv. SEED=N in the environment sends other calls. Exit code: 0 if all is well, 1 if not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import venv
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# One that serves, one that cannot be started, one that does not exist.
APPS = ("shop", "broken", "nobody")

# Each of the runs takes about ten seconds.
DEADLINE = 300


def environment() -> Path:
    """The folder of the programs of an environment with all requirements installed."""
    folder = TARGET / "control/venv"
    stamp = folder / "requirements.stamp"
    requirements = TESTS / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"control: making {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", requirements], check=True)
        stamp.write_text(wanted)
    return folder / "bin"


def fake_host() -> Path:
    """The made-up host, built."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1])
    build = ["cargo", "build", "--quiet", "--package", "serpentry", "--example", "fake_host"]
    subprocess.run(build, cwd=ROOT, check=True)
    return TARGET / "debug/examples/fake_host"


def pipe(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the end of one direction."""
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side hung up, so the other one must know.
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def relay(client: socket.socket, path: str) -> None:
    """One TCP connection, handed on to the Unix socket."""
    with closing(client), closing(socket.socket(socket.AF_UNIX)) as server:
        server.connect(path)
        back = threading.Thread(target=pipe, args=(server, client), daemon=True)
        back.start()
        pipe(client, server)
        back.join()


def listen(path: str) -> int:
    """A port on loopback that leads to the Unix socket: schemathesis speaks TCP only."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=relay, args=(client, path), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main() -> int:
    programs, host = environment(), fake_host()
    folder = Path(tempfile.mkdtemp(prefix="serpentry-control-"))
    try:
        state = folder / "state"
        command = [host, state, "0", "stay"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin and process.stdout
            if process.stdout.readline() != "ready\n":
                print("control: the made-up host did not start", file=sys.stderr)
                return 1
            port = listen(str(state / "control.sock"))
            schemathesis = [programs / "schemathesis", "--config-file", TESTS / "schemathesis.toml"]
            # It leaves folders where it stands.
            run = [*schemathesis, "run", ROOT / "docs/openapi.json", "--url", f"http://127.0.0.1:{port}"]
            # The same calls each time, so that a failure can be seen again.
            run += ["--seed", os.environ.get("SEED", "1")]
            codes = []
            for app in APPS:
                print(f"control: calls about {app!r}", file=sys.stderr, flush=True)
                variables = os.environ | {"APP": app}
                done = subprocess.run(run, cwd=folder, env=variables, timeout=DEADLINE, check=False)
                codes.append(done.returncode)
            alive = process.poll() is None
            process.stdin.close()
            if not alive or process.wait(timeout=30) != 0:
                print("control: the made-up host did not survive", file=sys.stderr)
                return 1
        return 1 if any(codes) else 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
