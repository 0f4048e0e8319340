"""The program `serpentry host`: exit statuses, one host for each state directory, its end, a kill and a new start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import toml_text
from conftest import Starter, TestHost, complete
from load import in_background


def run(host_program: str, *arguments: str, **keywords: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [host_program, *arguments], capture_output=True, text=True, timeout=60, check=False, **keywords
    )  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def program(pytestconfig: pytest.Config) -> str:
    return os.path.abspath(pytestconfig.getoption("--serpentry"))


def write(folder: Path, **host: object) -> Path:
    file = folder / "serpentry.toml"
    settings = {"listen": ["127.0.0.1:0"], "state": str(folder / "state"), **host}
    file.write_text(toml_text.document(settings, {"app": complete("app", {})}))
    return file


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["reload"], ["scale", "app", "2"], ["stop"], ["stop", "app"], ["start", "x"]],
    ids=" ".join,
)
def test_69_when_no_host_runs(program: str, tmp_path: Path, arguments: list[str]) -> None:
    done = run(program, *arguments, "--state", str(tmp_path / "state"))
    assert done.returncode == 69, done
    assert "serpentry host" in done.stderr, "it says what to do"
    assert done.stdout == ""


def test_69_after_a_kill(start: Starter) -> None:
    """The socket that a killed host left behind is not a host."""
    host = start({"app": {}})
    host.child.kill()
    host.child.wait()
    assert (host.state / "control.sock").exists()
    assert host.run("status").returncode == 69


def test_77_when_the_state_directory_is_not_ours(program: str, tmp_path: Path) -> None:
    """As another user, who may not write there. Only root can become one."""
    if os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root, to run the program as another user, and a /usr/bin/python3 for that user")
    # Neither pytest's folders nor that of the program need be open to others.
    folder = Path("/tmp") / f"serpentry-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        copy = folder / "serpentry"
        shutil.copy2(program, copy)
        state = folder / "state"
        state.mkdir(mode=0o700)
        code = folder / "app"
        code.mkdir()
        (code / "plain.py").write_text("def app(environ, start_response): pass\n")
        settings = {"listen": ["127.0.0.1:0"], "state": str(state)}
        app = {"app": "plain:app", "directory": str(code), "python": "/usr/bin/python3"}
        (folder / "serpentry.toml").write_text(toml_text.document(settings, {"app": app}))
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CACHE_HOME": "/tmp"}
        done = run(
            str(copy),
            "host",
            str(folder / "serpentry.toml"),
            user=65534,
            group=65534,
            extra_groups=[],
            env=environment,
            cwd=folder,
        )
        assert done.returncode == 77, done
        assert str(state) in done.stderr
    finally:
        shutil.rmtree(folder)


def test_77_when_the_socket_is_not_ours(start: Starter) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run the program as another user")
    host = start({"app": {}})
    folder = Path("/tmp") / f"serpentry-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        copy = folder / "serpentry"
        shutil.copy2(host.program, copy)
        # The way to the socket is open, the socket itself is not.
        for path in [host.state, *host.state.parents]:
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(path.stat().st_mode | 0o011)
        done = run(
            str(copy), "status", "--state", str(host.state), user=65534, group=65534, extra_groups=[], cwd=folder
        )
        assert done.returncode == 77, done
    finally:
        shutil.rmtree(folder)


MISTAKES = {
    "unknown key": ("app = ", 'appp = "x"\napp = ', ["appp", "app"]),
    "syntax": ("[apps.app]", "[apps.app", ["serpentry.toml:"]),
    "missing directory": (None, 'directory = "/nonexistent/place"', ["/nonexistent/place"]),
    "no interpreter": (None, 'python = "/nonexistent/python"', ["/nonexistent/python"]),
    "not an interpreter": (None, 'python = "/bin/false"', ["/bin/false"]),
    "bad address": ("127.0.0.1:0", "127.0.0.1:port", ["listen"]),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_78_for_a_mistake_in_the_file(program: str, tmp_path: Path, kind: str) -> None:
    """With file, line and column; and nothing was started."""
    old, new, mentioned = MISTAKES[kind]
    file = write(tmp_path)
    text = file.read_text()
    if old is None:
        key = new.split(" ")[0]
        text = "\n".join(new if line.startswith(f"{key} =") else line for line in text.splitlines()) + "\n"
    else:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    done = run(program, "host", str(file))
    assert done.returncode == 78, done
    for word in mentioned:
        assert word in done.stderr
    assert "serpentry.toml:" in done.stderr, "it says where"
    assert "listening" not in done.stderr


def test_78_for_files_that_cannot_be_read(program: str, tmp_path: Path) -> None:
    missing = run(program, "host", str(tmp_path / "nothing.toml"))
    assert missing.returncode == 78 and "nothing.toml" in missing.stderr
    folder = run(program, "host", str(tmp_path))
    assert folder.returncode == 78
    garbage = tmp_path / "garbage.toml"
    garbage.write_bytes(os.urandom(5 << 20))
    done = run(program, "host", str(garbage))
    assert done.returncode == 78 and len(done.stderr) < 20_000


def test_port_in_use(program: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(program, "host", str(write(tmp_path, listen=[f"127.0.0.1:{port}"])))
    assert done.returncode == 78, done
    assert str(port) in done.stderr and "in use" in done.stderr


def test_a_second_host_is_refused(start: Starter, program: str, tmp_path: Path) -> None:
    host = start({"app": {}})
    other = write(tmp_path, state=str(host.state))
    done = run(program, "host", str(other))
    assert done.returncode == 1, done
    assert str(host.pid) in done.stderr and str(host.state) in done.stderr
    assert host.facts("/x")["app"] == "app"
    assert host.status()["host"]["pid"] == host.pid


def test_killed_and_started_again(start: Starter) -> None:
    """Its workers end with it, and nothing that it left stands in the way."""
    sleeper = {"routes": ["/s"], "workers": {"min": 0, "max": 1}}
    host = start({"app": {"workers": 2}, "sleeper": sleeper}, host={"default_app": "app"})
    old = host.processes()
    assert len(old) == 2
    host.child.kill()
    host.child.wait()
    again = TestHost(host.program, host.file, host.state, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    try:
        again.wait_until_ready()
        assert not host.processes(), "the workers of the dead host are gone"
        body = json.loads(again_fetch(again, "/x"))
        assert body["app"] == "app" and body["pid"] not in old
        again.stop()
    finally:
        again.kill()


def again_fetch(host: TestHost, target: str) -> bytes:
    response = host.fetch(target)
    assert response.status == 200
    return response.body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_gracefully(start: Starter, number: signal.Signals) -> None:
    """The request inside is answered; a new connection is refused; exit status 0; no process and no socket is left."""
    host = start({"app": {}, "other": {"routes": ["/other"]}}, host={"default_app": "app"})
    answer = in_background(host.address, "/wait?for=go", timeout=60)
    host.wait(lambda: "waiting" in host.events(), "a request is inside")
    address = host.address
    host.child.send_signal(number)
    host.wait_for_output("stopping")

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(address) != 0

    host.wait(refused, "new connections are refused")
    assert host.child.poll() is None
    (host.folder / "go").touch()
    assert answer.result(30).status == 200
    assert host.child.wait(30) == 0
    assert host.processes() == set()
    assert not (host.state / "control.sock").exists()


def test_a_second_signal_stops_at_once(start: Starter) -> None:
    host = start({"app": {}})
    answer = in_background(host.address, "/wait?for=never", timeout=60)
    host.wait(lambda: "waiting" in host.events(), "a request is inside")
    host.child.send_signal(signal.SIGTERM)
    host.wait_for_output("stopping")
    host.child.send_signal(signal.SIGTERM)
    host.child.wait(20)
    assert host.processes() == set()
    assert answer.exception(30) is not None or answer.result().status >= 500


def test_listens_on_a_unix_socket(start: Starter, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    host = start({"app": {}}, host={"listen": [f"unix:{path}"]})
    assert host.address == str(path)
    assert host.facts("/x")["app"] == "app"
    host.stop()
    assert not path.exists()
