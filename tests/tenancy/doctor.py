"""What this machine can enforce, as `serpentry doctor --json` says: the only reason to skip a case."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVELS = ("enforced", "partly", "impossible")


@dataclass
class Doctor:
    """Entries by constraint; empty if the program cannot say, and then nothing is skipped."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def ask(cls, program: Path, folder: Path, before: tuple[str, ...]) -> Doctor:
        """Run it where hosts are run: `before` goes in front of the command, `folder` is on the disk they use."""
        done = subprocess.run(
            [*before, str(program), "doctor", "--json"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 2:
            return cls(notes=["this program has no `doctor`: nothing is skipped"])
        told = json.loads(done.stdout)
        entries = told if isinstance(told, list) else told["findings"]
        found = cls({entry["constraint"]: entry for entry in entries})
        for entry in entries:
            level = level_of(entry)
            if level not in LEVELS:
                found.notes.append(f"doctor: unknown level in {entry}")
            elif level != "enforced":
                found.notes.append(f"doctor: {entry['constraint']} is {level}: {entry['why']}")
        return found

    def impossible(self, needs: tuple[str, ...]) -> str:
        """Why a case with these needs cannot be held here; empty if it can. KeyError for what it does not know."""
        if not self.entries:
            return ""
        for need in needs:
            entry = self.entries[need]
            if level_of(entry) == "impossible":
                return f"{need}: {entry['why']} ({entry.get('remedy') or 'no remedy'})"
        return ""


def level_of(entry: dict[str, Any]) -> str:
    """How far the constraint holds."""
    return str(entry.get("level") or entry.get("state"))
