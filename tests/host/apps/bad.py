"""Applications that are broken, each in its way; the word is in the environment's HOW.

import: raises when it is imported. hang: never ends importing. crash: serves, and exits a moment after it started.
slow: takes two seconds to import. fixed: raises while FOLDER/broken exists, then is a good one. Otherwise: the plain application.
"""

import os
import threading
import time
from pathlib import Path

HOW = os.environ.get("HOW", "")

if HOW == "import" or HOW == "fixed" and Path(os.environ["FOLDER"], "broken").exists():
    raise RuntimeError("broken on purpose")
if HOW == "hang":
    while True:
        time.sleep(3600)
if HOW == "slow":
    time.sleep(2)
if HOW == "crash":
    # Well before it would count as one that serves.
    threading.Timer(0.5, lambda: os._exit(7)).start()

from plain import app, asgi  # noqa: E402, F401
