#!/bin/sh
# One sentence for each thing that is missing and that we cannot fetch ourselves.
missing=0
need() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "missing: $1; install $2" >&2
    missing=1
}
need cargo "a Rust toolchain, 1.95 or newer (rustup)"
need cc "a C compiler (Debian: gcc)"
need python3 "Python 3.10 or newer (Debian: python3)"
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "missing: $(python3 --version) is too old; install Python 3.10 or newer" >&2
        missing=1
    }
    python3 -c 'import venv, ensurepip' 2>/dev/null || {
        echo "missing: this python3 cannot make virtual environments; install python3-venv" >&2
        missing=1
    }
fi
exit $missing
