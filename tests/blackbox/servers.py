"""Adapters that start any of the servers under test with one set of options.

A test asks for what it needs in `Options`; the adapter says it in the server's own words. An option that a
server has no word for raises Unsupported, and the test is skipped for that server with the reason.
A `Server` is a running process: its address, its worker pids (from /proc), its captured output, its end.
It is deliberately not a supervisor: it never restarts anything and it always kills what it started.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

APPS = Path(__file__).resolve().parent / "apps"
PEERS = ("gunicorn", "gunicorn-gthread", "uvicorn")
SERVERS = ("serpentry", *PEERS)
LISTENING = {
    "serpentry": r"^serpentry: listening on (?:http://([0-9.]+):(\d+)|unix:(\S+))$",
    "gunicorn": r"Listening at: (?:http://([0-9.]+):(\d+)|unix:(\S+))",
    "uvicorn": r"Uvicorn running on (?:http://([0-9.]+):(\d+)|unix socket (\S+))",
}


class Unsupported(Exception):
    """The server has no way to say this option."""


class DidNotStart(Exception):
    """The server ended, or its deadline passed, before it listened."""


@dataclass
class Options:
    """What a test may ask of a server. Times in whole seconds, sizes in bytes; None: the default."""

    interface: str = "wsgi"
    mode: str | None = None  # wsgi: "sync" or "threads"; asgi: "asyncio" or "uvloop"
    workers: int = 1
    threads: int = 4  # only in mode "threads"
    bind: str = "127.0.0.1:0"
    directory: Path = APPS
    env: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    lifespan: str | None = None
    root_path: str | None = None
    timeout: int | None = None
    graceful_timeout: int | None = None
    start_timeout: int | None = None
    keep_alive: int | None = None
    header_timeout: int | None = None
    body_timeout: int | None = None
    max_body: int | None = None
    max_header: int | None = None
    max_requests: int | None = None
    queue: int | None = None
    queue_timeout: int | None = None
    connections: int | None = None
    forwarded_allow_ips: str | None = None
    reload: bool = False
    factory: bool = False
    platform: bool = False  # say neither where to listen nor how many workers: the environment does
    detect: bool = False  # let serpentry find out the interface and the concurrency by itself
    flags: tuple[str, ...] = ()  # serpentry's own, verbatim


def serpentry_command(app: str, options: Options, binary: str) -> list[str]:
    command = [binary, "serve", app, "--chdir", str(options.directory), "--python", options.python]
    if not options.platform:
        command += ["--bind", options.bind, "--workers", str(options.workers)]
    if options.interface == "wsgi" and options.mode == "threads":
        command += ["--threads", str(options.threads)]
    if not options.detect:
        command += ["--interface", options.interface]
        concurrency = "async" if options.interface == "asgi" else options.mode or "auto"
        command += ["--concurrency", concurrency]
    if options.interface == "asgi" and options.mode is not None:
        command += ["--loop", options.mode]
    for name in (
        "lifespan",
        "root_path",
        "timeout",
        "graceful_timeout",
        "start_timeout",
        "keep_alive",
        "header_timeout",
        "body_timeout",
        "max_body",
        "max_header",
        "max_requests",
        "queue",
        "queue_timeout",
        "connections",
        "forwarded_allow_ips",
    ):
        value = getattr(options, name)
        if value is not None:
            command += ["--" + name.replace("_", "-"), str(value)]
    for switch in ("reload", "factory"):
        if getattr(options, switch):
            command.append("--" + switch)
    return command + list(options.flags)


def gunicorn_command(app: str, options: Options, worker_class: str) -> list[str]:
    if options.interface != "wsgi":
        raise Unsupported("this gunicorn worker serves WSGI only")
    command = [
        options.python,
        "-m",
        "gunicorn",
        app,
        "--bind",
        options.bind,
        "--worker-class",
        worker_class,
        "--chdir",
        str(options.directory),
        "--workers",
        str(options.workers),
    ]
    if worker_class == "gthread":
        command += ["--threads", str(options.threads)]
    words = {
        "timeout": "--timeout",
        "graceful_timeout": "--graceful-timeout",
        "keep_alive": "--keep-alive",
        "max_requests": "--max-requests",
        "forwarded_allow_ips": "--forwarded-allow-ips",
        "connections": "--worker-connections",
    }
    return command + translate("gunicorn", options, words, switches={"reload": "--reload"})


def uvicorn_command(app: str, options: Options) -> list[str]:
    if options.interface != "asgi":
        raise Unsupported("uvicorn serves ASGI only")
    command = [
        options.python,
        "-m",
        "uvicorn",
        app,
        "--app-dir",
        str(options.directory),
        "--workers",
        str(options.workers),
        "--loop",
        options.mode or "auto",
        "--no-access-log",
    ]
    host, _, port = options.bind.rpartition(":")
    command += ["--uds", port] if host == "unix" else ["--host", host, "--port", port]
    words = {
        "lifespan": "--lifespan",
        "root_path": "--root-path",
        "keep_alive": "--timeout-keep-alive",
        "graceful_timeout": "--timeout-graceful-shutdown",
        "max_requests": "--limit-max-requests",
        "forwarded_allow_ips": "--forwarded-allow-ips",
        "connections": "--limit-concurrency",
    }
    return command + translate(
        "uvicorn", options, words, switches={"reload": "--reload", "factory": "--factory"}
    )


def translate(server: str, options: Options, words: dict[str, str], switches: dict[str, str]) -> list[str]:
    """The options a peer has a word for; any other that the test asked for raises Unsupported."""
    result = []
    for name in (
        "lifespan",
        "root_path",
        "timeout",
        "graceful_timeout",
        "start_timeout",
        "keep_alive",
        "header_timeout",
        "body_timeout",
        "max_body",
        "max_header",
        "max_requests",
        "queue",
        "queue_timeout",
        "connections",
        "forwarded_allow_ips",
    ):
        value = getattr(options, name)
        if value is None:
            continue
        if name not in words:
            raise Unsupported(f"{server} has no option {name}")
        result += [words[name], str(value)]
    for name in ("reload", "factory"):
        if getattr(options, name):
            if name not in switches:
                raise Unsupported(f"{server} has no option {name}")
            result.append(switches[name])
    if options.flags:
        raise Unsupported(f"{server} has no {' '.join(options.flags)}")
    return result


def command_for(name: str, app: str, options: Options, binary: str) -> list[str]:
    if name == "serpentry":
        return serpentry_command(app, options, binary)
    if name == "uvicorn":
        return uvicorn_command(app, options)
    return gunicorn_command(app, options, "gthread" if name == "gunicorn-gthread" else "sync")


def children_of(pid: int) -> list[int]:
    """Direct children that still run, from /proc; helper processes of multiprocessing are left out."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(text) for text in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for child in found if _is_worker(child)]


def _is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX" and b"resource_tracker" not in words


def wait_until(condition: Callable[[], object], timeout: float, what: str, every: float = 0.01) -> object:
    """Poll each `every` s until `condition()` is true, return its value; TimeoutError after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(every)


class Server:
    """One running server. Use as a context manager, or call `stop()`; both kill whatever is left."""

    def __init__(self, name: str, app: str, options: Options, binary: str, folder: Path):
        self.name, self.app, self.options = name, app, options
        self.address: tuple[str, int] | str = ""
        self.stdout_path, self.stderr_path = folder / "stdout.txt", folder / "stderr.txt"
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS")
        }
        environment |= {
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
            **options.env,
        }
        if name.startswith("gunicorn"):
            environment["HOME"] = str(folder)  # it keeps a control socket there
        self.command = command_for(name, app, options, binary)
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self.process = subprocess.Popen(
                self.command,
                cwd=options.directory,
                env=environment,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def base_url(self) -> str:
        if isinstance(self.address, str):
            return "http+unix://" + quote(self.address, safe="")
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def websocket_url(self) -> str:
        return self.base_url.replace("http://", "ws://", 1)

    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def worker_pids(self) -> list[int]:
        """Pids of the workers; a server that works in its only process is its own worker."""
        children = children_of(self.pid)
        if self.name == "uvicorn" and self.options.workers == 1 and not self.options.reload:
            return [self.pid]
        return children

    def all_pids(self) -> list[int]:
        return sorted({self.pid, *self.worker_pids()})

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """The first match of `pattern` (multi-line) on stderr."""
        compiled = re.compile(pattern, re.MULTILINE)
        found = wait_until(
            lambda: compiled.search(self.stderr()) or self._ended() and compiled.search(self.stderr()),
            timeout,
            f"{pattern!r} on stderr, which says: {self.stderr()[-2000:]}",
        )
        assert isinstance(found, re.Match)
        return found

    def wait_until_listening(self, timeout: float = 30.0) -> Server:
        family = "gunicorn" if self.name.startswith("gunicorn") else self.name
        pattern = re.compile(LISTENING[family], re.MULTILINE)
        wait_until(lambda: pattern.search(self.stderr()) or self._ended(), timeout, "listening")
        match = pattern.search(self.stderr())
        if match is None:
            raise DidNotStart(
                f"exit {self.process.poll()}: {' '.join(self.command)}\n{self.stderr()[-4000:]}"
            )
        host, port, path = match.groups()
        self.address = (host, int(port)) if port else path
        return self

    def wait_until_ready(self, timeout: float = 30.0) -> Server:
        """Listening, and every worker is up (peers have no ready line: their workers are counted)."""
        self.wait_until_listening(timeout)
        if self.name == "serpentry":
            self.wait_for_log(r"^serpentry: ready: ", timeout)
        else:
            wait_until(lambda: len(self.worker_pids()) >= self.options.workers, timeout, "workers")
            wait_until(lambda: self.accepts() or self._ended(), timeout, "accepting")
        return self

    def accepts(self) -> bool:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(self.address) == 0

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def stop(self, timeout: float = 15.0) -> int:
        """TERM, then wait; the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server and all it started: it leads a session of its own, and so do jailed workers."""
        pids = children_of(self.pid)
        for pid in pids:
            _kill_quietly(pid)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def _ended(self) -> bool:
        return self.process.poll() is not None


def _kill_quietly(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def memory(pid: int, field_name: str = "VmRSS") -> int:
    """Bytes of resident memory now (VmRSS) or at most so far (VmHWM) of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {field_name} for pid {pid}")


def reset_peak(pid: int) -> None:
    """Start VmHWM anew from the memory in use now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
