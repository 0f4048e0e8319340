"""The key that signs sessions and tokens, kept in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path


def load_or_create(path: Path) -> str:
    """Return the key in `path`; make one first if there is none."""
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as draft:
            draft.write(secrets.token_urlsafe(50))
            draft.flush()
            # A link appears with its whole content or not at all: workers that start together
            # agree on one key.
            try:
                os.link(draft.name, path)
            except FileExistsError:
                pass
    return path.read_text()
