"""First code of a worker process: load the extension by its path and hand over.

The host starts this file with the application's own interpreter. Descriptor 3 is the data link and 4 the control
link to the router; the variable SERPENTRY_WORKER holds the settings as JSON. Nothing of the application is imported
here.
"""

import importlib.machinery
import importlib.util
import json
import os
import signal
import sys

LINKS = (3, 4)


def main() -> int:
    settings = os.environ.pop("SERPENTRY_WORKER")
    # Python put the directory of this file first; the application expects its own.
    sys.path[0] = os.getcwd()
    # Ctrl-C reaches every process of the terminal, but only the supervisor decides what it means. A handler rather than
    # SIG_IGN, because programs that the application starts would inherit the latter.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    # To a pipe or a file Python writes in blocks, so what is printed would show up much later, or never after a crash. By
    # lines rather than unbuffered: then each print is one write, and lines of several processes do not mix.
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=True)
    for link in LINKS:
        os.set_inheritable(link, False)
    os.register_at_fork(after_in_child=close_links)
    extension = json.loads(settings)["extension"]
    loader = importlib.machinery.ExtensionFileLoader("serpentry_worker", extension)
    spec = importlib.util.spec_from_file_location("serpentry_worker", extension, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serpentry_worker"] = module
    loader.exec_module(module)
    return module.main(settings, *LINKS)


def close_links() -> None:
    """A process that the application forks is not a worker: the router must see the links end with this one.

    The numbers stay taken, so that no file of the child is mistaken for a link.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for link in LINKS:
        os.dup2(nothing, link, inheritable=False)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
