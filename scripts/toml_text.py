"""Writes dictionaries as TOML: what the drills and tests/host need to make a `serpentry.toml`, no more.

Tables become inline tables, except down to the depth where sections read better: `[host]`, `[apps.NAME]` and
`[apps.NAME.limits]`. No dates, no comments; standard library only (which reads TOML from 3.11 on, and writes none).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def document(host: dict[str, Any], apps: dict[str, dict[str, Any]]) -> str:
    """The text of a `serpentry.toml`."""
    parts = [section("host", host)] if host else []
    for name, app in apps.items():
        plain = {key: value for key, value in app.items() if key != "limits"}
        parts.append(section(f"apps.{key_text(name)}", plain))
        if app.get("limits"):
            parts.append(section(f"apps.{key_text(name)}.limits", app["limits"]))
    return "\n".join(parts)


def section(name: str, values: dict[str, Any]) -> str:
    """One `[name]` with its lines."""
    lines = [f"{key_text(key)} = {value_text(value)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def value_text(value: Any) -> str:
    """One value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (str, Path)):
        # A JSON string of characters below U+10000 is a TOML basic string.
        return json.dumps(str(value))
    if isinstance(value, dict):
        inside = ", ".join(f"{key_text(key)} = {value_text(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return "[" + ", ".join(value_text(item) for item in value) + "]"


def key_text(key: str) -> str:
    """One key, quoted where it must be."""
    return key if BARE_KEY.match(key) else json.dumps(key)


def replace_file(path: Path, text: str) -> None:
    """Write a new file beside `path` and rename it over: nobody sees half a file."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    os.replace(draft, path)
