#!/usr/bin/env python3
"""Run the tests of the two tenancy models (tests/tenancy): applications that try to break every constraint.

They need the finished program (`make build`) and root. Arguments are passed on, for example `-k memory` or `--prove`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run them; their exit status."""
    return subprocess.run([sys.executable, str(ROOT / "tests/tenancy/run.py"), *sys.argv[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
