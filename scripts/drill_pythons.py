"""The interpreters of the drills: which CPython versions this machine has, and an environment of each with frameworks.

Interpreters are looked for under pyenv and in PATH. The environments are made once, in target/drill/venvs, with the
pinned requirements of the examples (Flask, Django, FastAPI). It starts no server. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / "target/drill/venvs"
# The newest first: those that are found first are taken.
VERSIONS = ("3.13", "3.12", "3.11", "3.10")
REQUIREMENTS = [ROOT / "examples" / name / "requirements.txt" for name in ("shop", "site", "feed")]


class NoPython(Exception):
    """An environment could not be made; the text says why."""


def interpreters() -> dict[str, str]:
    """Version to path, for the versions found, the newest first."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, str] = {}
    for version in VERSIONS:
        candidates = [str(path) for path in sorted(home.glob(f"{version}.*/bin/python"))]
        candidates += [path for name in (f"python{version}", "python3") if (path := shutil.which(name))]
        working = (path for path in [*candidates, sys.executable] if _version_of(path) == version)
        if path := next(working, None):
            found[version] = path
    return found


def environments(count: int) -> dict[str, Path]:
    """Version to the python of its environment, for at most `count` versions; says what was not found."""
    found = interpreters()
    missing = [version for version in VERSIONS if version not in found]
    if missing:
        print(f"CPython not found: {', '.join(missing)}; found: {', '.join(found)}")
    if not found:
        raise NoPython("no CPython from 3.10 to 3.13 was found under pyenv or in PATH")
    return {version: _environment(version, path) for version, path in list(found.items())[:count]}


def _environment(version: str, interpreter: str) -> Path:
    folder = VENVS / version
    python, stamp = folder / "bin/python", folder / ".requirements.sha256"
    identity = "\n".join([interpreter, str(folder), *(file.read_text() for file in REQUIREMENTS)])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"making an environment of CPython {version} with Flask, Django and FastAPI", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([interpreter, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    for file in REQUIREMENTS:
        pip += ["-r", str(file)]
    _run(pip)
    # Written last: without it, an interrupted installation is made again.
    stamp.write_text(digest)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise NoPython(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}{done.stdout}")


def _version_of(path: str) -> str | None:
    """ "3.12" of a CPython at `path` that can make virtual environments, else None."""
    # One that cannot make environments is of no use here.
    code = "import sys, venv, ensurepip; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return None
    found = re.fullmatch(r"cpython (3\.\d+)\n", done.stdout)
    return found[1] if found else None
