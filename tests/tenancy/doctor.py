"""What this machine can enforce, as `serpentry doctor --json` says: the only reason to skip a case."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("enforced", "partly", "impossible")


@dataclass
class Doctor:
    """Entries by constraint; empty if the program cannot say, and then nothing is skipped."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def ask(cls, program: Path) -> Doctor:
        """Run it."""
        done = subprocess.run(
            [str(program), "doctor", "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 2:
            return cls(notes=["this program has no `doctor`: nothing is skipped"])
        told = json.loads(done.stdout)
        entries = told if isinstance(told, list) else told["constraints"]
        found = cls({entry["constraint"]: entry for entry in entries})
        for entry in entries:
            if entry["state"] not in STATES:
                found.notes.append(f"doctor: unknown state in {entry}")
            elif entry["state"] != "enforced":
                found.notes.append(f"doctor: {entry['constraint']} is {entry['state']}: {entry['why']}")
        return found

    def impossible(self, needs: tuple[str, ...]) -> str:
        """Why a case with these needs cannot be held here; empty if it can, or if it is not said."""
        for need in needs:
            entry = self.entries.get(need)
            if entry is not None and entry["state"] == "impossible":
                return f"{need}: {entry['why']} ({entry.get('remedy') or 'no remedy'})"
        return ""
