"""What a service manager sees and gives: sd_notify(3), its watchdog, and sockets that it passes (sd_listen_fds(3))."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Starter
from rawhttp import fetch
from servers import wait_until

# LISTEN_PID must be the pid of the program itself: a step in between puts the sockets at 3, 4, ... and execs it.
PASS_SOCKETS = """
import os, sys
count = int(sys.argv[1])
for number, fd in enumerate(sys.argv[2 : 2 + count]):
    os.dup2(int(fd), 100 + number)
for number in range(count):
    os.dup2(100 + number, 3 + number)
    os.close(100 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""


class Manager:
    """A datagram socket where the host reports."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.messages: list[dict[str, str]] = []

    def receive(self) -> list[dict[str, str]]:
        """All that has come so far."""
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return self.messages
            self.messages.append(dict(line.split("=", 1) for line in text.strip().splitlines()))

    def wait_for(self, key: str, after: int = 0, timeout: float = 60.0) -> int:
        """The place of the first message with this key behind the first `after` ones."""

        def found() -> list[int]:
            return [at for at, message in enumerate(self.receive()) if at >= after and key in message]

        places = wait_until(found, timeout, f"{key} among {self.messages}")
        assert isinstance(places, list)
        return int(places[0])


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Manager]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@serpentry-{tmp_path}"
    # "@" stands for the zero byte of the abstract namespace (unix(7)).
    made = Manager(address.replace("@", "\0", 1))
    yield address, made
    made.socket.close()


def test_ready_reloading_stopping(start: Starter, manager: tuple[str, Manager]) -> None:
    address, told = manager
    environment = {"NOTIFY_SOCKET": address}
    host = start({"app": {}, "other": {"routes": ["/o"]}}, host={"default_app": "app"}, environment=environment)
    ready = told.wait_for("READY")
    assert told.messages[ready]["READY"] == "1"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    host.child.send_signal(signal.SIGHUP)
    reloading = told.wait_for("RELOADING", ready + 1)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    # Type=notify-reload takes the answer for an older one without it: systemd.service(5).
    assert before <= int(told.messages[reloading]["MONOTONIC_USEC"]) <= after
    again = told.wait_for("READY", reloading + 1)
    host.file.write_text("nonsense = [\n")
    host.child.send_signal(signal.SIGHUP)
    refused = told.wait_for("RELOADING", again + 1)
    told.wait_for("READY", refused + 1)
    host.write()
    host.stop()
    told.wait_for("STOPPING", refused + 1)


def test_not_ready_before_the_applications_are(start: Starter, tmp_path: Path) -> None:
    told = Manager(str(tmp_path / "notify"))
    apps = {"good": {"routes": ["/g"]}, "slow": {"app": "bad:app", "routes": ["/s"], "env": {"HOW": "hang"}}}
    apps["slow"]["start_timeout"] = "4s"
    host = start(apps, wait="listening", environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    host.wait_for_state("good", "serving", 60)
    assert host.app("slow")["state"] != "starting" or not any("READY" in message for message in told.receive())
    # An application that does not start does not hold up the host for ever.
    told.wait_for("READY")
    assert host.app("slow")["state"] != "starting"
    told.socket.close()


def test_watchdog(start: Starter, tmp_path: Path) -> None:
    told = Manager(str(tmp_path / "notify"))
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    start({"app": {}}, environment=environment)
    first = told.wait_for("WATCHDOG")
    second = told.wait_for("WATCHDOG", first + 1)
    told.wait_for("WATCHDOG", second + 1)
    told.socket.close()


def test_without_a_service_manager(start: Starter) -> None:
    host = start({"app": {}})
    assert "service manager" not in host.output()


def test_passed_sockets(start: Starter, tmp_path: Path) -> None:
    """Connections that came before the host was ready wait in the socket and are answered."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "passed.sock"))
        for listener in (tcp, unix):
            listener.listen()
        port = tcp.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port))
        early.sendall(b"GET /early HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        fds = [str(tcp.fileno()), str(unix.fileno())]
        before = (sys.executable, "-c", PASS_SOCKETS, "2", *fds)
        host = start({"app": {}}, before=before, pass_fds=(tcp.fileno(), unix.fileno()))
        assert b'"path": "/early"' in early.makefile("rb").read()
        assert json.loads(fetch(("127.0.0.1", port), "/x").body)["app"] == "app"
        assert json.loads(fetch(str(tmp_path / "passed.sock"), "/y").body)["path"] == "/y"
        assert host.status()["host"]["pid"] == host.pid
        host.stop()
        assert (tmp_path / "passed.sock").exists(), "a passed socket belongs to whoever passed it"
