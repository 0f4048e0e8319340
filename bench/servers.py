"""How each server is started, in one table, and a handle to start, check and stop one.

Every server gets its own maker's advice for production where there is one, one Python process per worker, and
no access log. A server is ready when it has answered the application's own path with status 200 and the
expected text; a server that does not is reported with the end of its log.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import environment
import processes

START_SECONDS = 30


class ServerFailed(Exception):
    """The server did not start or did not answer as the application does."""


@dataclass(frozen=True)
class App:
    module: str
    interface: str  # wsgi or asgi
    path: str
    expected: str  # text that must be in the answer


@dataclass(frozen=True)
class Server:
    command: Callable[[App, int, int], list[str]]  # (application, port, workers)
    interfaces: tuple[str, ...]
    program: str  # must exist for the server to be measured
    modules: tuple[str, ...] = ()  # measured with these applications only; all when empty
    peer: bool = True  # something one could use instead


APPS = {
    "hello WSGI": App("hello_wsgi", "wsgi", "/", "Hello, World!"),
    "hello ASGI": App("hello_asgi", "asgi", "/", "Hello, World!"),
    "Flask": App("flask_app", "wsgi", "/hello/reader", "item &lt;9&gt;: 27"),
    "Django": App("django_app", "wsgi", "/products/", "<td>product "),
    "FastAPI": App("fastapi_app", "asgi", "/orders/7?customer=reader", '"customer":"reader"'),
}
MIXED = App("mixed", "wsgi", "/fast", "done")
KILL = {
    "wsgi": App("kill_wsgi", "wsgi", "/", "alive"),
    "asgi": App("kill_asgi", "asgi", "/", "alive"),
}


def serpentry(app: App, port: int, workers: int) -> list[str]:
    command = [str(environment.SERPENTRY), "serve", app.module + ":app", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--interface", app.interface, "--chdir", str(environment.APPS)]
    command += ["--python", str(environment.PYTHON)]
    # For the 10,000 idle connections; no effect on the other measurements.
    return [*command, "--connections", "20000", "--keep-alive", "300s"]


def granian(app: App, port: int, workers: int) -> list[str]:
    # One blocking thread: one Python thread per worker, like the rest. Its default for WSGI, a pool that
    # grows, answered a third fewer requests of a hello world. For ASGI it is always one.
    command = ["granian", "--interface", app.interface, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--blocking-threads", "1", "--no-access-log", "--no-ws"]
    command += ["--loop", "uvloop"] if app.interface == "asgi" else []
    command += ["--respawn-failed-workers"] if workers > 1 else []
    return [*command, "--log-level", "warning", app.module + ":app"]


def granian_defaults(app: App, port: int, workers: int) -> list[str]:
    """The same without the tuning of its blocking threads, as most people start it."""
    command = granian(app, port, workers)
    at = command.index("--blocking-threads")
    return command[:at] + command[at + 2 :]


def gunicorn(worker_class: str, *extra: str) -> Callable[[App, int, int], list[str]]:
    def command(app: App, port: int, workers: int) -> list[str]:
        command = ["gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(workers), *extra]
        command += ["--worker-class", worker_class, "--no-control-socket", "--log-level", "warning"]
        return [*command, app.module + ":app"]

    return command


def uvicorn(app: App, port: int, workers: int) -> list[str]:
    command = ["uvicorn", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    command += ["--http", "httptools", "--loop", "uvloop", "--timeout-keep-alive", "300"]
    return [*command, "--no-access-log", "--log-level", "warning", app.module + ":app"]


def fastpysgi(app: App, port: int, workers: int) -> list[str]:
    return ["python", str(environment.APPS / "run_fastpysgi.py"), app.module, str(port), str(workers)]


def bjoern(app: App, port: int, workers: int) -> list[str]:
    return ["python", str(environment.APPS / "run_bjoern.py"), app.module, str(port)]


def ceiling(app: App, port: int, workers: int) -> list[str]:
    return [str(environment.CEILING), str(port)]


def uwsgi(app: App, port: int, workers: int) -> list[str]:
    command = ["uwsgi", "--http-socket", f"127.0.0.1:{port}", "--module", app.module + ":app", "--need-app"]
    command += [
        "--home",
        str(environment.VENV),
        "--pythonpath",
        str(environment.APPS),
        "--single-interpreter",
    ]
    command += ["--disable-logging", "--die-on-term", "--listen", "1024", "--processes", str(workers)]
    return [*command, "--master"] if workers > 1 else command


BIN = environment.VENV / "bin"
SERVERS = {
    "serpentry": Server(serpentry, ("wsgi", "asgi"), str(environment.SERPENTRY)),
    "granian": Server(granian, ("wsgi", "asgi"), str(BIN / "granian")),
    "granian defaults": Server(granian_defaults, ("wsgi",), str(BIN / "granian")),
    "fastpysgi": Server(fastpysgi, ("wsgi", "asgi"), str(BIN / "fastpysgi")),
    "bjoern": Server(bjoern, ("wsgi",), "bjoern"),
    "no Python at all": Server(
        ceiling, ("wsgi", "asgi"), str(environment.CEILING), ("hello_wsgi", "hello_asgi"), peer=False
    ),
    "uwsgi": Server(uwsgi, ("wsgi",), str(BIN / "uwsgi")),
    "uvicorn": Server(uvicorn, ("asgi",), str(BIN / "uvicorn")),
    "gunicorn asgi": Server(gunicorn("asgi"), ("asgi",), str(BIN / "gunicorn")),
    "gunicorn sync": Server(gunicorn("sync"), ("wsgi",), str(BIN / "gunicorn")),
    "gunicorn gthread": Server(gunicorn("gthread", "--threads", "4"), ("wsgi",), str(BIN / "gunicorn")),
    # One slot per worker, for the run with mixed service times.
    "gunicorn gthread 1": Server(gunicorn("gthread", "--threads", "1"), (), str(BIN / "gunicorn")),
}


def available(name: str) -> bool:
    """Whether the server can be measured here: its program exists (bjoern has none: its module imports)."""
    program = SERVERS[name].program
    if program != "bjoern":
        return os.path.exists(program)
    return environment.imports("bjoern")


def for_app(app: App) -> list[str]:
    """The servers that can be measured with an application."""
    return [
        name
        for name, server in SERVERS.items()
        if app.interface in server.interfaces and app.module in (server.modules or [app.module]) and available(name)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Running:
    """One started server. Use as a context manager: leaving it stops the whole tree."""

    name: str
    app: App
    workers: int = 1
    core: int | None = None
    port: int = field(default_factory=free_port)
    start_seconds: float = 0.0

    def __enter__(self) -> Running:
        command = SERVERS[self.name].command(self.app, self.port, self.workers)
        self.log = environment.LOGS / f"{self.name.replace(' ', '-')}-{self.app.module}.log"
        pin = None if self.core is None else (lambda: os.sched_setaffinity(0, {self.core}))
        began = time.monotonic()
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=environment.APPS,
                env=environment.app_environment(),
                start_new_session=True,
                preexec_fn=pin,
            )
        self.pid = self.process.pid
        try:
            self.wait_until_right(began)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_right(self, began: float) -> None:
        wrong = "no answer"
        while time.monotonic() - began < START_SECONDS:
            if self.process.poll() is not None:
                raise ServerFailed(
                    f"{self.name} exited with {self.process.returncode} at start: {self.log_end()}"
                )
            try:
                status, body = self.get()
                if status == 200 and self.app.expected in body:
                    self.start_seconds = time.monotonic() - began
                    return
                wrong = f"status {status}, body {body[:80]!r}"
            except OSError as error:
                wrong = str(error)
            time.sleep(0.005)
        what = f"{self.name} did not answer {self.app.path} rightly in {START_SECONDS} s"
        raise ServerFailed(f"{what} ({wrong}): {self.log_end()}")

    def wait_for_workers(self, seconds: float = 15) -> None:
        """Wait until as many Python workers run as were asked for, then let their imports finish."""
        deadline = time.monotonic() + seconds
        while len(processes.workers(self.pid)) < self.workers:
            if time.monotonic() > deadline:
                found = len(processes.workers(self.pid))
                raise ServerFailed(f"{self.name} has {found} of {self.workers} workers after {seconds:g} s")
            time.sleep(0.05)
        time.sleep(1)

    def get(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self.app.path)
            answer = connection.getresponse()
            result = answer.status, answer.read().decode("utf-8", "replace")
            # FastPySGI 0.6 with ASGI hangs when a client closes in the instant it has its answer. That is its
            # weakness, but it is not what is measured: leave it time to finish.
            time.sleep(0.01)
            return result
        except http.client.HTTPException as error:
            raise OSError(f"broken answer: {error!r}") from error
        finally:
            connection.close()

    def complaint(self) -> str:
        """Empty when the server still answers rightly."""
        try:
            status, body = self.get()
        except OSError as error:
            return f"no answer any more ({error})"
        return "" if status == 200 and self.app.expected in body else f"wrong answer, status {status}"

    def log_end(self) -> str:
        text = self.log.read_text(errors="replace").replace(str(environment.ROOT), ".")
        return " | ".join(text.strip().splitlines()[-3:]) or "its log is empty"

    def stop(self) -> None:
        """TERM to the root, three seconds, then KILL to whatever of the tree is left. Pids only."""
        pids = {pid: processes.start_time(pid) for pid in processes.tree(self.pid)}
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            pids.update({pid: processes.start_time(pid) for pid in processes.tree(self.pid)})
        for pid in processes.wait_gone(pids, 0.2):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(5)
        processes.wait_gone(pids, 5)
