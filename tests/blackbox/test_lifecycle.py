"""From boot to end: failures to start, detection, signals, reload, recycling.

What happens when workers die or hang while serving is in test_failures.py.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import Launcher, Running
from load import Load, in_background, wait_for_progress
from rawhttp import Truncated, request_bytes
from servers import wait_until

VERSIONED = """
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"VERSION"]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"VERSION"})
"""
BOOT_FAILURES = {
    # module text, app, what stderr must say
    "import error": (
        "import no_such_module_anywhere\n",
        "boot:app",
        "No module named 'no_such_module_anywhere'",
    ),
    "raises at import": (
        "raise RuntimeError('settings are missing')\n",
        "boot:app",
        "RuntimeError: settings are missing",
    ),
    "syntax error": ("def app(:\n", "boot:app", "SyntaxError"),
    "no such module": ("", "not_there:app", "not_there"),
    "no such attribute": ("application = 1\n", "boot:app", "app"),
    "not callable": ("app = 42\n", "boot:app", "callable|neither|cannot be called"),
    "exits at import": ("import os\nos._exit(9)\n", "boot:app", ""),
}


def write_version(folder: Path, version: str) -> None:
    (folder / "versioned.py").write_text(VERSIONED.replace("VERSION", version))


@pytest.mark.parametrize("case", list(BOOT_FAILURES))
def test_boot_failure_ends_with_the_cause(
    launch: Launcher, tmp_path: Path, server_name: str, case: str, either: tuple[str, str]
) -> None:
    text, app, expected = BOOT_FAILURES[case]
    (tmp_path / "boot.py").write_text(text)
    server = launch(app, wait="no", interface=either[0], mode=either[1], directory=tmp_path, detect=True)
    code = server.wait(10)
    assert code == 1 if server_name == "serpentry" else code != 0
    assert re.search(expected, server.stderr())
    if server_name == "serpentry":
        last = server.stderr().strip().splitlines()[-1]
        assert last.startswith("serpentry: "), f"the last line is the hint, not {last!r}"


@pytest.mark.serpentry_only
@pytest.mark.parametrize(
    "app, words",
    [
        ("life:wsg", "did you mean.*wsgi|wsgi"),
        ("life:not_an_application", "callable|neither|cannot be called"),
        ("lif:wsgi", "lif"),
    ],
)
def test_hint_names_what_to_change(launch: Launcher, app: str, words: str) -> None:
    server = launch(app, wait="no", detect=True)
    assert server.wait(20) == 1
    assert re.search(words, server.stderr().strip().splitlines()[-1]), server.stderr()


@pytest.mark.serpentry_only
def test_import_that_hangs_ends_at_the_start_timeout(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "boot.py").write_text("import time\ntime.sleep(600)\n")
    server = launch("boot:app", wait="no", directory=tmp_path, start_timeout=2)
    assert server.wait(12) == 1


@pytest.mark.serpentry_only
def test_traceback_is_the_applications_own(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "boot.py").write_text("def deep():\n    raise KeyError('DATABASE_URL')\n\ndeep()\n")
    server = launch("boot:app", wait="no", directory=tmp_path)
    assert server.wait(20) == 1
    assert "Traceback (most recent call last)" in server.stderr()
    assert 'boot.py", line 2, in deep' in server.stderr()


@pytest.mark.serpentry_only
@pytest.mark.parametrize(
    "app, interface",
    [
        ("life:wsgi", "wsgi"),
        ("life:asgi", "asgi"),
        ("life:asgi_object", "asgi"),
        ("life:make_wsgi()", "wsgi"),
        ("life:make_asgi()", "asgi"),
        ("wsgi_plain:app", "wsgi"),
        ("asgi_plain:app", "asgi"),
    ],
)
def test_interface_is_detected(launch: Launcher, app: str, interface: str) -> None:
    server = launch(app, detect=True, interface=interface)
    assert server.fetch("/pid").status == 200
    server.wait_for_log(rf"^serpentry: ready: 1 worker.*\b{interface}\b")


@pytest.mark.serpentry_only
def test_factory_flag(launch: Launcher) -> None:
    assert launch("life:make_asgi", detect=True, factory=True).fetch("/").body == b"ok"


@pytest.mark.serpentry_only
@pytest.mark.parametrize("flags", [["--no-such-flag"], ["--workers", "zero"], ["--bind", "nonsense:port"]])
def test_usage_error_is_exit_2(pytestconfig: pytest.Config, flags: list[str]) -> None:
    done = subprocess.run(
        [pytestconfig.getoption("--serpentry"), "serve", "life:wsgi", *flags],
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 2 and done.stderr


@pytest.mark.serpentry_only
def test_ready_line_names_the_workers(launch: Launcher) -> None:
    server = launch("life:asgi", interface="asgi", workers=2)
    line = server.wait_for_log(r"^serpentry: ready: 2 workers, asgi, async \(pids (\d+) (\d+)\)$")
    assert {int(line[1]), int(line[2])} == set(server.worker_pids())


@pytest.mark.serpentry_only
def test_requests_before_readiness_are_queued(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "versioned.py").write_text(
        "import time\ntime.sleep(1)\n" + VERSIONED.replace("VERSION", "ok")
    )
    server = launch("versioned:wsgi", wait="listening", directory=tmp_path)
    assert server.fetch("/").body == b"ok"


def test_term_finishes_what_is_in_flight(launch: Launcher, either: tuple[str, str]) -> None:
    server = launch(f"life:{either[0]}", interface=either[0], mode=either[1])
    pending = in_background(server.address, "/sleep?seconds=1")
    server.wait_for_event("sleeping")
    server.signal(signal.SIGTERM)
    assert pending.result(10).body == b"ok"
    assert server.wait(10) in (0, -signal.SIGTERM)


def test_term_closes_idle_connections_and_the_listener(launch: Launcher, either: tuple[str, str]) -> None:
    server = launch(f"life:{either[0]}", interface=either[0], mode=either[1])
    with server.connect() as connection:
        connection.send(request_bytes("GET", "/")).read_response()
        server.signal(signal.SIGTERM)
        assert connection.is_closed(10)
    assert server.wait(10) in (0, -signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_graceful_timeout_ends_what_does_not_end(launch: Launcher, either: tuple[str, str]) -> None:
    server = launch(f"life:{either[0]}", interface=either[0], mode=either[1], graceful_timeout=1)
    pending = in_background(server.address, "/sleep?seconds=20")
    server.wait_for_event("sleeping")
    server.signal(signal.SIGTERM)
    server.wait(8)
    with pytest.raises((Truncated, AssertionError)):
        assert pending.result(5).status == 200


@pytest.mark.serpentry_only
def test_second_term_ends_at_once(launch: Launcher) -> None:
    server = launch("life:wsgi", interface="wsgi", graceful_timeout=60)
    in_background(server.address, "/sleep?seconds=20")
    server.wait_for_event("sleeping")
    server.signal(signal.SIGTERM)
    wait_until(lambda: not server.accepts(), 5, "the listener closed")
    server.signal(signal.SIGTERM)
    server.wait(5)


@pytest.mark.serpentry_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_host(launch: Launcher, number: signal.Signals) -> None:
    server = launch("life:wsgi", interface="wsgi", workers=2)
    workers = server.worker_pids()
    server.signal(number)
    server.wait(10)
    wait_until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], 5, "workers ended")


def test_hup_serves_new_code_and_loses_nothing(
    launch: Launcher, tmp_path: Path, either: tuple[str, str]
) -> None:
    write_version(tmp_path, "v1")
    server = launch(
        f"versioned:{either[0]}", interface=either[0], mode=either[1], directory=tmp_path, workers=2
    )
    with Load(server.address) as load:
        wait_for_progress(load, wait_until)
        for version in ("v2", "v3"):
            before = set(server.worker_pids())
            write_version(tmp_path, version)
            server.signal(signal.SIGHUP)
            wait_until(lambda: version.encode() in load.answers, 20, version)
            wait_until(lambda: not before & set(server.worker_pids()), 20, "old workers ended")
        wait_for_progress(load, wait_until)
    assert load.failures == []
    assert server.fetch("/").body == b"v3"


@pytest.mark.serpentry_only
def test_hup_with_broken_code_keeps_the_old(launch: Launcher, tmp_path: Path) -> None:
    write_version(tmp_path, "v1")
    server = launch("versioned:wsgi", interface="wsgi", directory=tmp_path, workers=2)
    workers = set(server.worker_pids())
    with Load(server.address) as load:
        wait_for_progress(load, wait_until)
        (tmp_path / "versioned.py").write_text("raise RuntimeError('broken by the new version')\n")
        server.signal(signal.SIGHUP)
        server.wait_for_log("RuntimeError: broken by the new version")
        wait_for_progress(load, wait_until, 200)
    assert load.failures == [] and set(load.answers) == {b"v1"}
    wait_until(lambda: set(server.worker_pids()) == workers, 10, "the old workers, and only they, remain")
    write_version(tmp_path, "v2")
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.fetch("/").body == b"v2", 20, "a later reload works")


def test_ttin_and_ttou(launch: Launcher, either: tuple[str, str]) -> None:
    server = launch(f"life:{either[0]}", interface=either[0], mode=either[1], workers=2)
    for number, count in ((signal.SIGTTIN, 3), (signal.SIGTTIN, 4), (signal.SIGTTOU, 3), (signal.SIGTTOU, 2)):
        server.signal(number)
        wait_until(lambda: len(server.worker_pids()) == count, 15, f"{count} workers")
    assert server.fetch("/").body == b"ok"


def test_max_requests_recycles_without_failures(launch: Launcher, either: tuple[str, str]) -> None:
    server = launch(f"life:{either[0]}", interface=either[0], mode=either[1], workers=2, max_requests=100)
    with Load(server.address, "/pid") as load:
        wait_until(lambda: len(load.answers) >= 5, 30, "five different workers")
    assert load.failures == []
    assert server.process.poll() is None


def test_reload_follows_the_files(launch: Launcher, tmp_path: Path, either: tuple[str, str]) -> None:
    write_version(tmp_path, "v1")
    server = launch(
        f"versioned:{either[0]}", interface=either[0], mode=either[1], directory=tmp_path, reload=True
    )
    assert wait_until(lambda: body_of(server), 20, "first version") == b"v1"
    for version in ("v2", "v3"):
        edit_until_served(server, tmp_path, version)


@pytest.mark.serpentry_only
def test_reload_survives_a_syntax_error(launch: Launcher, tmp_path: Path) -> None:
    write_version(tmp_path, "v1")
    server = launch("versioned:wsgi", interface="wsgi", directory=tmp_path, reload=True)

    def broken() -> bool:
        (tmp_path / "versioned.py").write_text("def wsgi(:\n")
        return "SyntaxError" in server.stderr()

    wait_until(broken, 20, "the reload was tried", every=1.5)
    edit_until_served(server, tmp_path, "v2")


def edit_until_served(server: Running, folder: Path, version: str) -> None:
    """Save the file again each 1.5 s until it is served: nobody says when the watcher of a peer is ready."""

    def saved() -> bool:
        write_version(folder, version)
        return wait_quietly(lambda: body_of(server) == version.encode(), 1.5)

    wait_until(saved, 20, version)


def wait_quietly(condition, timeout: float) -> bool:
    try:
        return bool(wait_until(condition, timeout, "a try"))
    except TimeoutError:
        return False


def body_of(server: Running) -> bytes:
    try:
        response = server.fetch("/", timeout=5)
        return response.body if response.status == 200 else b""
    except (OSError, Truncated):
        return b""


@pytest.mark.serpentry_only
def test_usr1_reopens_the_access_log(launch: Launcher, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = launch(
        "life:wsgi", interface="wsgi", flags=("--access-log", str(log), "--log-format", "combined")
    )
    server.fetch("/before")
    wait_until(lambda: log.exists() and "/before" in log.read_text(), 5, "first line")
    log.rename(tmp_path / "access.log.1")
    server.signal(signal.SIGUSR1)
    wait_until(log.exists, 5, "new file")
    server.fetch("/after")
    wait_until(lambda: "/after" in log.read_text(), 5, "second line")
    assert "/after" not in (tmp_path / "access.log.1").read_text()


def unused_port() -> int:
    """Below those that the kernel gives to connections and to listeners without a number: nobody else is given it meanwhile."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(lowest - 4096, lowest), 64):
        with contextlib.suppress(OSError), socket.create_server(("0.0.0.0", port)):
            return port
    pytest.fail("64 ports in turn are taken")


@pytest.mark.serpentry_only
def test_port_and_web_concurrency(launch: Launcher) -> None:
    """PORT=N alone means 0.0.0.0:N and WEB_CONCURRENCY=2 alone two workers, as hosting platforms set them."""
    port = unused_port()
    server = launch(
        "life:wsgi", interface="wsgi", platform=True, env={"PORT": str(port), "WEB_CONCURRENCY": "2"}
    )
    assert server.address == ("0.0.0.0", port)
    assert len(server.worker_pids()) == 2
