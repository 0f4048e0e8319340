"""Disk: fill it, and move data past the page cache as fast as it goes. Figures are of the second half of the time."""

import mmap
import os
import time

from attempts import attempt, data_directory

MIB = 1 << 20


def fill(arguments):
    """Write to `where` (default: the data directory) up to `mib`; got: all of it fitted."""
    where = arguments.get("where") or data_directory()
    limit = int(arguments["mib"])
    path = os.path.join(where, "filler-%d" % os.getpid())
    written = 0
    piece = os.urandom(MIB)

    def write():
        nonlocal written
        with open(path, "wb", buffering=0) as file:
            while written < limit * MIB:
                written += file.write(piece)
            os.fsync(file.fileno())

    try:
        answer = attempt(write)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return {**answer, "mib": written / MIB}


def fill_inodes(arguments):
    """Empty files, up to `count`: a volume has to end somewhere for them too."""
    folder = os.path.join(data_directory(), "inodes-%d" % os.getpid())
    limit = int(arguments["count"])
    made = 0

    def make():
        nonlocal made
        os.mkdir(folder)
        while made < limit:
            os.close(os.open(os.path.join(folder, str(made)), os.O_CREAT | os.O_WRONLY, 0o600))
            made += 1

    answer = attempt(make)
    for name in range(made):
        os.unlink(os.path.join(folder, str(name)))
    os.rmdir(folder)
    return {**answer, "files": made}


def direct(arguments, writing):
    """Blocks of `kib` past the page cache for `seconds`; bytes and operations per second."""
    size = int(arguments["kib"]) * 1024
    seconds = float(arguments["seconds"])
    span = 32 * MIB
    path = os.path.join(data_directory(), "direct-%d" % os.getpid())
    # O_DIRECT wants aligned memory, which an anonymous mapping is.
    memory = mmap.mmap(-1, size)
    memory.write(os.urandom(size))
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        # Written through the page cache first: what is measured is neither allocation nor reading of holes.
        for _ in range(span // MIB):
            os.write(descriptor, os.urandom(MIB))
        os.fsync(descriptor)
        os.close(descriptor)
        descriptor = os.open(path, os.O_RDWR | os.O_DIRECT)
        start = time.monotonic()
        middle, counts, at = start + seconds / 2, [0, 0], [start, start]
        offset = 0
        while (now := time.monotonic()) < start + seconds:
            if writing:
                os.pwritev(descriptor, [memory], offset)
            else:
                os.preadv(descriptor, [memory], offset)
            offset = (offset + size) % span
            half = 0 if now < middle else 1
            counts[half] += 1
            at[half] = time.monotonic()
    finally:
        os.close(descriptor)
        os.unlink(path)
        memory.close()
    rate = counts[1] / (at[1] - at[0]) if counts[1] else 0.0
    return {"bytes_per_second": rate * size, "operations_per_second": rate, "counts": counts}


def read_direct(arguments):
    return direct(arguments, writing=False)


def write_direct(arguments):
    return direct(arguments, writing=True)


def write_synced(arguments):
    """Through the page cache, and fsync after each piece of `kib`: what durable applications do."""
    size, seconds = int(arguments["kib"]) * 1024, float(arguments["seconds"])
    path = os.path.join(data_directory(), "synced-%d" % os.getpid())
    piece = os.urandom(size)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    start = time.monotonic()
    middle, counts, at = start + seconds / 2, [0, 0], [start, start]
    try:
        while (now := time.monotonic()) < start + seconds:
            os.pwrite(descriptor, piece, sum(counts) * size % (32 * MIB))
            os.fsync(descriptor)
            half = 0 if now < middle else 1
            counts[half] += 1
            at[half] = time.monotonic()
    finally:
        os.close(descriptor)
        os.unlink(path)
    rate = counts[1] / (at[1] - at[0]) if counts[1] else 0.0
    return {"bytes_per_second": rate * size, "operations_per_second": rate, "counts": counts}


def write_everywhere(arguments):
    """Make a file in each of `where` (separated by colons); got: where it could, besides the allowed ones."""
    made, errors = [], {}
    for where in arguments["where"].split(":"):
        path = os.path.join(where, "planted-%d" % os.getpid())
        answer = attempt(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)))
        if answer["got"]:
            os.unlink(path)
            made.append(where)
        else:
            errors[where] = answer["errno"]
    return {"got": bool(made), "made": made, "errors": errors}


ATTACKS = {
    "fill_disk": fill,
    "fill_inodes": fill_inodes,
    "read_direct": read_direct,
    "write_direct": write_direct,
    "write_synced": write_synced,
    "write_everywhere": write_everywhere,
}
