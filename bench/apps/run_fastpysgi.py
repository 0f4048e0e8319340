"""Start FastPySGI through its API, which has a number of workers: run_fastpysgi.py MODULE PORT WORKERS."""

import importlib
import sys

import fastpysgi

workers = int(sys.argv[3])
fastpysgi.run(
    importlib.import_module(sys.argv[1]).app,
    host="127.0.0.1",
    port=int(sys.argv[2]),
    loglevel=fastpysgi.LL_ERROR,
    workers=workers if workers > 1 else None,
)
