"""Options, fixtures and reporting of the black-box tests.

`launch` starts a server for one test; `shared` gives one server per test module and set of options, because
most tests only need "the plain application, running". Tests say what they serve with the markers wsgi, asgi
or serpentry_only; those that do not apply to the chosen server are deselected and counted on output.
A failed test shows the last lines of what its servers wrote.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import peers
import pytest
from rawhttp import Connection, Response, fetch
from servers import SERVERS, Options, Server, Unsupported, wait_until

ROOT = Path(__file__).resolve().parents[2]
WSGI_MODES = {
    "serpentry": ["sync", "threads"],
    "gunicorn": ["sync"],
    "gunicorn-gthread": ["threads"],
    "uvicorn": [],
}
ASGI_LOOPS = {
    "serpentry": ["asyncio", "uvloop"],
    "uvicorn": ["asyncio", "uvloop"],
    "gunicorn": [],
    "gunicorn-gthread": [],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", choices=SERVERS, default="serpentry", help="the server under test")
    parser.addoption(
        "--serpentry", default=str(ROOT / "target/release/serpentry"), help="path of the program"
    )
    parser.addoption(
        "--pythons", default="", help="comma-separated interpreters for test_pythons.py (default: search)"
    )


def pytest_configure(config: pytest.Config) -> None:
    # An interrupted run still ends its servers: TERM (of `timeout`, of CI) is treated like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for line in (
        "wsgi: serves a WSGI application",
        "asgi: serves an ASGI application",
        "serpentry_only: a promise that no peer makes",
    ):
        config.addinivalue_line("markers", line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`mode` runs a test once per concurrency of the server; `canary_mode` covers both interfaces."""
    server = metafunc.config.getoption("--server")
    interface = "asgi" if metafunc.definition.get_closest_marker("asgi") else "wsgi"
    own = " ".join(str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if "mode" in metafunc.fixturenames and "mode" not in own.replace(",", " ").split():
        modes = ASGI_LOOPS[server] if interface == "asgi" else WSGI_MODES[server]
        metafunc.parametrize("mode", modes or ["none"], scope="module")
    if "either" in metafunc.fixturenames:
        pairs = [("wsgi", mode) for mode in WSGI_MODES[server]] + [
            ("asgi", loop) for loop in ASGI_LOOPS[server][:1]
        ]
        metafunc.parametrize("either", pairs, ids=["-".join(pair) for pair in pairs], scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    server = config.getoption("--server")
    kept, dropped = [], []
    for item in items:
        unfit = (
            item.get_closest_marker("serpentry_only")
            and server != "serpentry"
            or item.get_closest_marker("wsgi")
            and not WSGI_MODES[server]
            or item.get_closest_marker("asgi")
            and not ASGI_LOOPS[server]
        )
        (dropped if unfit else kept).append(item)
        reason = peers.reason_for(server, test_id(item))
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=not reason.startswith("sometimes")))
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)
    config.not_applicable = len(dropped)  # type: ignore[attr-defined]


def test_id(item: pytest.Item) -> str:
    """The id below tests/blackbox; a parameter may hold a slash of its own."""
    path, separator, rest = item.nodeid.partition("::")
    return path.rsplit("/", 1)[-1] + separator + rest


def pytest_report_header(config: pytest.Config) -> str:
    return f"server under test: {config.getoption('--server')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    server = config.getoption("--server")
    count = getattr(config, "not_applicable", 0)
    if count:
        terminalreporter.write_line(
            f"{count} tests deselected: they serve an interface {server} does not have, "
            "or a promise only serpentry makes"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        for server in getattr(item, "funcargs", {}).values():
            if isinstance(server, Running):
                report.sections.append((f"end of stderr of {server.name}", server.stderr()[-3000:]))
        for server in STARTED.get(item.nodeid, []):
            report.sections.append((f"end of stderr of {server.name}", server.stderr()[-3000:]))
    return report


STARTED: dict[str, list[Server]] = {}


class Running(Server):
    """A server with the conveniences the tests use."""

    events_path: Path

    def fetch(self, target: str, method: str = "GET", **keywords: object) -> Response:
        return fetch(self.address, target, method, **keywords)  # type: ignore[arg-type]

    def connect(self, **keywords: object) -> Connection:
        return Connection(self.address, **keywords)  # type: ignore[arg-type]

    def ends_cleanly(self) -> bool:
        """TERM, then the exit code of a clean end: 0, or for uvicorn the signal, which it raises again."""
        return self.stop() in ((0, -signal.SIGTERM) if self.name == "uvicorn" else (0,))

    def events(self) -> list[str]:
        """What the applications have noted in their EVENTS file, a line each."""
        return self.events_path.read_text().splitlines() if self.events_path.exists() else []

    def wait_for_event(self, line: str, timeout: float = 10.0) -> None:
        wait_until(lambda: line in self.events(), timeout, f"event {line!r}; have {self.events()[-20:]}")


class Launcher:
    """Starts servers and ends them all."""

    def __init__(self, config: pytest.Config, folder: Callable[[], Path]):
        self.config, self.folder, self.running = config, folder, []

    def __call__(self, app: str, wait: str = "ready", **options: object) -> Running:
        """Start `app`; `wait` is "ready", "listening" or "no". Skips when the server lacks an option."""
        folder = self.folder()
        chosen = Options(**options)  # type: ignore[arg-type]
        chosen.env = {"EVENTS": str(folder / "events.txt"), "FOLDER": str(folder), **chosen.env}
        name = self.config.getoption("--server")
        binary = os.path.abspath(self.config.getoption("--serpentry"))
        try:
            server = Running(name, app, chosen, binary, folder)
        except Unsupported as error:
            pytest.skip(str(error))
        server.events_path = folder / "events.txt"
        self.running.append(server)
        if wait == "ready":
            server.wait_until_ready()
        elif wait == "listening":
            server.wait_until_listening()
        return server

    def end(self) -> None:
        for server in self.running:
            server.kill()


@pytest.fixture(scope="session", autouse=True)
def server_exists(pytestconfig: pytest.Config) -> None:
    path = pytestconfig.getoption("--serpentry")
    if pytestconfig.getoption("--server") == "serpentry" and not os.access(path, os.X_OK):
        pytest.exit(f"no program at {path}: run `make build` first", returncode=1)


@pytest.fixture(scope="session")
def server_name(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("--server")


@pytest.fixture
def launch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Start servers that live for this test."""
    launcher = Launcher(request.config, lambda: tmp_path_factory.mktemp("server"))
    STARTED[request.node.nodeid] = launcher.running
    yield launcher
    launcher.end()


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Running]]:
    """Start a server once per module and set of options; a dead one is started anew."""
    launcher = Launcher(request.config, lambda: tmp_path_factory.mktemp("shared"))
    known: dict[str, Running] = {}

    def get(app: str, **options: object) -> Running:
        key = repr((app, sorted(options.items(), key=str)))
        if key not in known or known[key].process.poll() is not None:
            known[key] = launcher(app, **options)
        return known[key]

    yield get
    launcher.end()


@pytest.fixture
def wsgi(shared: Callable[..., Running], mode: str) -> Running:
    """The plain WSGI application, one worker, in the mode of the run."""
    return shared("wsgi_plain:app", interface="wsgi", mode=mode)


@pytest.fixture
def asgi(shared: Callable[..., Running], mode: str) -> Running:
    """The plain ASGI application, one worker, on the loop of the run."""
    return shared("asgi_plain:app", interface="asgi", mode=mode)
