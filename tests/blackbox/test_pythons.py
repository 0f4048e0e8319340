"""Hello on every CPython from 3.10 to 3.13 that this machine has, in a virtual environment of its own.

Interpreters come from --pythons, else from pyenv and PATH. The environments are kept in
target/blackbox/venvs; they hold nothing but uvloop for one of the ASGI runs, and work without it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from conftest import ROOT, Launcher

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
VENVS = ROOT / "target/blackbox/venvs"


@lru_cache
def version_of(path: str) -> str | None:
    """ "3.12" of a working CPython at `path`, else None."""
    code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return None
    found = re.fullmatch(r"cpython (3\.\d+)\n", done.stdout)
    return found[1] if found else None


@lru_cache
def interpreters(given: str) -> dict[str, str]:
    """Version to path, for the versions found."""
    candidates = given.split(",") if given else []
    if not candidates:
        home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        candidates = [
            str(path) for version in VERSIONS for path in sorted(home.glob(f"{version}.*/bin/python"))
        ]
        candidates += [path for version in VERSIONS if (path := shutil.which(f"python{version}"))]
        candidates += [path for name in ("python3", "python") if (path := shutil.which(name))]
    found: dict[str, str] = {}
    for path in candidates:
        version = version_of(path)
        if version in VERSIONS:
            found.setdefault(version, path)
    return found


def environment_of(version: str, path: str) -> str:
    """The python of the virtual environment for `version`, made on first use."""
    python = VENVS / version / "bin/python"
    if not python.exists():
        subprocess.run([path, "-m", "venv", "--without-pip", str(VENVS / version)], check=True, timeout=120)
    return str(python)


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> tuple[str, str]:
    found = interpreters(request.config.getoption("--pythons"))
    if request.param not in found:
        pytest.skip(f"CPython {request.param} was not found; found: {', '.join(sorted(found)) or 'none'}")
    return request.param, environment_of(request.param, found[request.param])


@pytest.mark.serpentry_only
@pytest.mark.parametrize("interface, mode", [("wsgi", "sync"), ("wsgi", "threads"), ("asgi", "asyncio")])
def test_hello(launch: Launcher, python: tuple[str, str], interface: str, mode: str) -> None:
    version, path = python
    server = launch(
        "versions:app" if interface == "wsgi" else "versions:asgi",
        interface=interface,
        mode=mode,
        python=path,
    )
    for _ in range(3):
        answer = json.loads(server.fetch("/hello?x=1", "POST", body=b"abc").body)
        assert answer == {"python": version, "path": "/hello", "body": "abc"}
    assert server.ends_cleanly()


@pytest.mark.serpentry_only
def test_error_on_every_python(launch: Launcher, python: tuple[str, str]) -> None:
    server = launch("versions:app", interface="wsgi", python=python[1])
    assert server.fetch("/raise").status == 500
    server.wait_for_log("ZeroDivisionError")
    assert server.fetch("/hello").status == 200


def test_the_application_of_this_test_itself(launch: Launcher, server_name: str) -> None:
    """Runs on the peers too, with the interpreter of the tests."""
    interface = "asgi" if server_name == "uvicorn" else "wsgi"
    server = launch("versions:app" if interface == "wsgi" else "versions:asgi", interface=interface)
    answer = json.loads(server.fetch("/hello?x=1", "POST", body=b"abc").body)
    assert answer["path"] == "/hello" and answer["body"] == "abc"


@pytest.mark.serpentry_only
def test_unservable_python_gets_a_clear_sentence(launch: Launcher, tmp_path: Path) -> None:
    """A program that says it is Python 3.6 stands for any version that cannot be served."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    old = next(iter([*home.glob("3.[6789].*/bin/python"), *home.glob("2.7.*/bin/python")]), None)
    if old is None:
        pytest.skip("no CPython older than 3.10 was found to refuse")
    server = launch("versions:app", wait="no", interface="wsgi", python=str(old))
    assert server.wait(15) == 1
    assert re.search(r"3\.10", server.stderr()), "the sentence says which versions can be served"
