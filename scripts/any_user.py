"""Finds an interpreter that every user can run: isolated applications have a user of their own.

One below a closed home directory (`~/.pyenv` of root) is of no use to them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def reachable_python(choice: str | None = None) -> str:
    """The choice if there is one; else the running interpreter, or the system's if that is out of others' reach."""
    if choice:
        return choice
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(candidate, os.X_OK):
            real = Path(candidate).resolve()
            if all(parent.stat().st_mode & 0o001 for parent in real.parents):
                return candidate
    return sys.executable
