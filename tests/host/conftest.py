"""Fixtures of the tests of `serpentry host`: `start` writes a `serpentry.toml` and runs a host of it.

Each test has its own host, folder, port and state directory. The program is driven from outside only: its command
line, its sockets, its signals. A failed test shows the end of what its hosts printed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).resolve().parent / "apps"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="skipped: not root, so there are no control groups")
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/blackbox")]

import hosting  # noqa: E402
import toml_text  # noqa: E402
from rawhttp import Response, fetch  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--serpentry", default=str(ROOT / "target/release/serpentry"), help="path of the program")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: measures, or takes what others need: no other test may run beside it")
    # An interrupted run still ends its hosts: TERM (of `timeout`, of CI) is treated like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = config.getoption("--serpentry")
    if not os.access(path, os.X_OK):
        pytest.exit(f"no program at {path}: run `make build` first", returncode=1)


def pytest_sessionfinish() -> None:
    hosting.kill_marked()


class TestHost(hosting.Host):
    """A host with the file it serves, and a client."""

    __test__ = False
    apps: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    folder: Path

    def write(self, **changes: dict[str, Any] | None) -> None:
        """Change applications of the file (None: leave out), without telling the host."""
        for name, values in changes.items():
            if values is None:
                self.apps.pop(name, None)
            else:
                self.apps[name] = {**self.apps.get(name, {}), **values}
        toml_text.replace_file(self.file, toml_text.document(self.settings, self.apps))

    def reload(self, **changes: dict[str, Any] | None) -> str:
        """Change the file and reload; what `serpentry reload` printed. HostError unless it went well."""
        self.write(**changes)
        return self.do("reload")

    def fetch(self, target: str, host: str = "any.example", method: str = "GET", **keywords: Any) -> Response:
        """One request on a connection of its own."""
        headers = [("Host", host), *keywords.pop("headers", [])]
        return fetch(self.address, target, method, headers=headers, **keywords)

    def facts(self, target: str, host: str = "any.example", **keywords: Any) -> dict[str, Any]:
        """The answer of an application of this folder, which must be 200."""
        response = self.fetch(target, host, **keywords)
        assert response.status == 200, f"{target}: {response.status} {response.body[:500]!r}"
        found = json.loads(response.body)
        assert isinstance(found, dict)
        return found

    def events(self) -> list[str]:
        """What the applications have noted."""
        path = self.folder / "events.txt"
        return path.read_text().splitlines() if path.exists() else []


class Starter:
    """Starts hosts and ends them all."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.running: list[TestHost] = []

    def __call__(
        self,
        apps: dict[str, dict[str, Any]],
        *,
        host: dict[str, Any] | None = None,
        wait: str = "ready",
        flags: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        before: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
    ) -> TestHost:
        """Start a host of `apps`; `wait` is "ready", "listening" or "no"."""
        folder = self.folder / f"host{len(self.running)}"
        folder.mkdir(exist_ok=True)
        settings = {"listen": ["127.0.0.1:0"], "state": str(folder / "state"), **(host or {})}
        full = {name: complete(name, app) for name, app in apps.items()}
        file = folder / "serpentry.toml"
        file.write_text(toml_text.document(settings, full))
        variables = {
            "EVENTS": str(folder / "events.txt"),
            "FOLDER": str(folder),
            "PYTHONPATH": str(ROOT / "tests/blackbox/apps"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        }
        state = Path(settings["state"])
        running = TestHost(
            self.program, file, state, environment=variables, flags=flags, before=before, pass_fds=pass_fds
        )
        running.apps, running.settings, running.folder = full, settings, folder
        self.running.append(running)
        if wait == "ready":
            running.wait_until_ready()
        elif wait == "listening":
            running.wait_until_listening()
        return running

    def end(self) -> None:
        for host in self.running:
            host.kill()


def complete(name: str, app: dict[str, Any]) -> dict[str, Any]:
    """What every application of these tests has in common, under what the test says."""
    common = {"app": "plain:app", "directory": APPS, "python": sys.executable}
    return {**common, **app, "env": {"NAME": name, "MARK": "1", **app.get("env", {})}}


def missing(host: TestHost, constraint: str, name: str = "app") -> None:
    """Skip where the machine does not enforce it."""
    for it in host.app(name)["unenforced"]:
        if it["constraint"] == constraint:
            pytest.skip(f"skipped: {constraint} is not enforced here: {it['why']}")


STARTED: dict[str, list[TestHost]] = {}


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Starter]:
    """Start hosts that live for this test."""
    starter = Starter(Path(request.config.getoption("--serpentry")), tmp_path)
    STARTED[request.node.nodeid] = starter.running
    yield starter
    starter.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        for host in STARTED.get(item.nodeid, []):
            report.sections.append((f"end of the output of {host.pid}", host.output()[-4000:]))
    return report
