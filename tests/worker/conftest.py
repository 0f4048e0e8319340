"""Fixtures of the worker's tests: which interpreters, which extension, and workers that are shared within a module.

Needs the two built extensions (`cargo xtask worker` leaves them under target/ext): say where with --extension-dir,
a directory with serpentry_worker.abi3-py310.so and serpentry_worker.abi3-py312.so. Interpreters come from --pythons,
else from PATH and pyenv; a version that is not found is reported as skipped. Tests marked `once` or `ends` run on the
newest, or on the oldest and the newest interpreter only.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Worker  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
APPS = Path(__file__).parent / "apps"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--extension-dir", default=str(ROOT / "target/ext"), help="directory with the two extensions")
    parser.addoption("--pythons", default="", help="comma-separated interpreters (default: search)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once: does not depend on the version of Python, runs on the newest only")
    config.addinivalue_line("markers", "ends: runs on the oldest and the newest version of Python only")


@functools.cache
def version_of(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


@functools.cache
def has_uvloop(python: str) -> bool:
    return subprocess.run([python, "-c", "import uvloop"], capture_output=True, timeout=30).returncode == 0


@functools.cache
def interpreters(option: str) -> dict[str, str]:
    """Version to path. pyenv's shims are not asked: they answer for versions that are not installed."""
    candidates = option.split(",") if option else [sys.executable]
    if not option:
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        for version in VERSIONS:
            candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
            candidates.append(shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin:/bin") or "")
    found: dict[str, str] = {}
    for python in filter(None, candidates):
        found.setdefault(version_of(python), python)
    return {version: found[version] for version in VERSIONS if version in found}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "python" in metafunc.fixturenames:
        known = interpreters(metafunc.config.getoption("--pythons"))
        wanted = list(VERSIONS)
        if metafunc.definition.get_closest_marker("once"):
            wanted = list(known)[-1:] or wanted[-1:]
        elif metafunc.definition.get_closest_marker("ends"):
            wanted = sorted({*list(known)[:1], *list(known)[-1:]}) or wanted[-1:]
        params = [version if version in known else
                  pytest.param(version, marks=pytest.mark.skip(reason=f"no CPython {version} on this machine"))
                  for version in wanted]
        metafunc.parametrize("python", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> str:
    """Path of one interpreter."""
    return interpreters(request.config.getoption("--pythons"))[request.param]


@pytest.fixture(scope="module")
def start(request: pytest.FixtureRequest, python: str) -> Callable[..., Worker]:
    """`start(app, **settings)` makes a worker for one test; use it with `with`."""
    abi = "310" if version_of(python) in ("3.10", "3.11") else "312"
    extension = Path(request.config.getoption("--extension-dir")) / f"serpentry_worker.abi3-py{abi}.so"
    if not extension.exists():
        pytest.exit(f"{extension} is missing: build it (cargo xtask worker) or say where with --extension-dir", 1)
    return functools.partial(Worker, python, str(extension))


@pytest.fixture(scope="module")
def wsgi(start: Callable[..., Worker]) -> Iterator[Worker]:
    """A sync worker for tests that leave it as they found it."""
    with start("wsgi_app") as worker:
        yield worker.ready()


@pytest.fixture(scope="module")
def asgi(start: Callable[..., Worker]) -> Iterator[Worker]:
    """An async worker on asyncio for tests that leave it as they found it."""
    with start("asgi_app") as worker:
        yield worker.ready()
