"""Where things are, and the virtual environment the measured applications and servers live in.

The environment is made under target/bench/venv from bench/requirements.txt, once, and again when that file
changes. A requirement that cannot be installed is reported and the run goes on without it: bjoern and uWSGI
are compiled from source. `wrk` comes from the distribution and is not installed here.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
APPS = BENCH / "apps"
STATE = ROOT / "target" / "bench"
VENV = STATE / "venv"
PYTHON = VENV / "bin" / "python"
LOGS = STATE / "logs"
DJANGO_DATABASE = STATE / "django.sqlite3"
CEILING = STATE / "constant"
SERPENTRY = Path(os.environ.get("SERPENTRY_BIN") or ROOT / "target" / "release" / "serpentry")


def newest_python() -> str:
    """The newest CPython from 3.10 to 3.13 on the machine; the one running this when there is no other."""
    for minor in (13, 12, 11, 10):
        found = shutil.which(f"python3.{minor}")
        installed = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))
        for candidate in ([found] if found else []) + [str(path) for path in installed]:
            answer = subprocess.run([candidate, "-c", "import venv, ensurepip"], capture_output=True)
            if answer.returncode == 0:
                return candidate
    return sys.executable


def prepare(python: str | None) -> list[str]:
    """Make or complete the virtual environment; returns the requirements that could not be installed."""
    STATE.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(exist_ok=True)
    # What the machine's sockets allow at the most; left out where there is no C compiler.
    source = BENCH / "ceiling" / "constant.c"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(CEILING), str(source)], check=False)
    stamp = VENV / "bench-installed.txt"
    wanted = (BENCH / "requirements.txt").read_text()
    lines = stamp.read_text().splitlines() if stamp.exists() else []
    if python is None and lines and "\n".join(lines[1:]).strip() == wanted.strip():
        failed = lines[0].split()
    else:
        failed = install(python or newest_python(), requirements(wanted))
        stamp.write_text(" ".join(failed) + "\n" + wanted)
    return failed + broken_apps()


def requirements(text: str) -> list[str]:
    stripped = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


def install(python: str, wanted: list[str]) -> list[str]:
    print(f"bench: installing {len(wanted)} packages into target/bench/venv", file=sys.stderr)
    subprocess.run([python, "-m", "venv", "--clear", str(VENV)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    failed = []
    for requirement in wanted:
        result = subprocess.run([*pip, requirement], capture_output=True, text=True)
        if result.returncode != 0:
            failed.append(requirement)
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            print(f"bench: {requirement} cannot be installed and is left out: {last}", file=sys.stderr)
    return failed


def broken_apps() -> list[str]:
    """Create Django's database; returns the applications that do not import, as `bench/apps/NAME.py`."""
    DJANGO_DATABASE.unlink(missing_ok=True)
    create = [str(PYTHON), str(APPS / "django_app.py")]
    subprocess.run(create, env=app_environment(), capture_output=True)
    return [
        f"bench/apps/{name}.py" for name in ("flask_app", "django_app", "fastapi_app") if not imports(name)
    ]


@functools.cache
def imports(module: str) -> bool:
    """Whether the environment's Python can import an application or a package."""
    command = [str(PYTHON), "-c", f"import {module}"]
    return subprocess.run(command, env=app_environment(), capture_output=True).returncode == 0


def app_environment() -> dict[str, str]:
    """The environment of every server: the same for all, without the caller's own server settings."""
    dropped = ("GUNICORN_", "UVICORN_", "GRANIAN_", "UWSGI_", "WEB_CONCURRENCY", "PORT", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    kept["PATH"] = f"{VENV / 'bin'}:{kept.get('PATH', '/usr/bin:/bin')}"
    kept["PYTHONPATH"] = str(APPS)
    kept["BENCH_DJANGO_DB"] = str(DJANGO_DATABASE)
    return kept


def missing_tools() -> list[str]:
    missing = []
    if not shutil.which("wrk"):
        missing.append("wrk is not installed: install it with `apt-get install wrk`")
    if not SERPENTRY.exists():
        missing.append(f"{SERPENTRY.name} is not built: run `make build`; only the peers are measured")
    return missing


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures: the machine, and which program was measured."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "serpentry": serpentry_version(),
        "load average at start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    """Of the environment's Python and what is installed there: the peers and the frameworks."""
    version = [str(PYTHON), "-c", "import platform; print(platform.python_version())"]
    freeze = [str(PYTHON), "-m", "pip", "freeze", "--disable-pip-version-check"]
    packages = subprocess.run(freeze, capture_output=True, text=True).stdout.split()
    names = {
        line.split("==")[0].split("[")[0].lower()
        for line in requirements((BENCH / "requirements.txt").read_text())
    }
    shown = [line.replace("==", " ") for line in packages if line.split("==")[0].lower() in names]
    return {
        "python": subprocess.run(version, capture_output=True, text=True).stdout.strip(),
        "packages": ", ".join(shown),
    }


def serpentry_version() -> str:
    if not SERPENTRY.exists():
        return "not built"
    answer = subprocess.run([str(SERPENTRY), "--version"], capture_output=True, text=True)
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return f"{answer.stdout.strip() or 'unknown version'} (commit {commit.stdout.strip() or 'unknown'})"
