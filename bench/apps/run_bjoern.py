"""Start bjoern, which has no command line: run_bjoern.py MODULE PORT."""

import importlib
import sys

import bjoern

bjoern.run(importlib.import_module(sys.argv[1]).app, "127.0.0.1", int(sys.argv[2]))
