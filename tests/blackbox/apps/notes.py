"""Notes that applications leave for the test: lines appended to the file named by the EVENTS variable.

Appending with one write per line keeps lines whole when several workers note at once.
"""

import os
import time
from pathlib import Path


def note(line: str) -> None:
    fd = os.open(os.environ["EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, (line + "\n").encode())
    finally:
        os.close(fd)


def wait_for_file(name: str, timeout: float = 10.0) -> bool:
    """Wait until the test creates FOLDER/name; False after `timeout` seconds."""
    path = Path(os.environ["FOLDER"]) / name
    deadline = time.monotonic() + timeout
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
