"""Memory hogs: anonymous memory, page cache, tmpfs, a mapped file. Each stops at `mib`, whatever happens."""

import mmap
import os
import tempfile

from attempts import attempt, data_directory

MIB = 1 << 20
PIECE = os.urandom(MIB)
KEPT = []


def anonymous(arguments):
    """Take memory, touch it, keep it."""
    count = int(arguments["mib"])
    for _ in range(count):
        KEPT.append(bytearray(PIECE))
    return {"got": True, "mib": count}


def drop(arguments):
    """Give it back."""
    KEPT.clear()
    return {}


def page_cache(arguments):
    """Write a file as large as `mib` and read it again, all through the page cache."""
    path = os.path.join(data_directory(), "page-cache")
    try:
        with open(path, "wb") as file:
            for _ in range(int(arguments["mib"])):
                file.write(PIECE)
        count = 0
        with open(path, "rb") as file:
            while data := file.read(MIB):
                count += len(data)
    finally:
        os.unlink(path)
    return {"mib": count // MIB}


def tmpfs(arguments):
    """Fill a directory that may be memory; got: it took all of it."""
    where = arguments["where"]
    limit = int(arguments["mib"])
    written = 0
    path = os.path.join(where, "hog-%d" % os.getpid())

    def fill():
        nonlocal written
        with open(path, "wb", buffering=0) as file:
            while written < limit:
                file.write(PIECE)
                written += 1

    try:
        answer = attempt(fill)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return {**answer, "mib": written}


def mapped_file(arguments):
    """Dirty every page of a mapped file."""
    size = int(arguments["mib"]) * MIB
    with tempfile.TemporaryFile(dir=data_directory()) as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as memory:
            for offset in range(0, size, MIB):
                memory[offset : offset + MIB] = PIECE
    return {"mib": size // MIB}


def locked(arguments):
    """mlockall: memory that can never be taken back."""
    from attempts import call

    answer = attempt(call, "mlockall", 3)
    if answer["got"]:
        call("munlockall")
    return answer


ATTACKS = {
    "memory_anonymous": anonymous,
    "memory_drop": drop,
    "memory_page_cache": page_cache,
    "memory_tmpfs": tmpfs,
    "memory_mapped_file": mapped_file,
    "memory_locked": locked,
}
