"""CPU burners: processes or threads that compute until their time is over, and say how much CPU they got."""

import hashlib
import os
import threading
import time

BLOCK = b"x" * 262144


def burn(until):
    """Compute until the time; hashing a large block lets go of the GIL, so threads burn as well as processes."""
    while time.monotonic() < until:
        hashlib.sha256(BLOCK).digest()


def processes(arguments):
    """`count` processes for `seconds`; cores used in the second half of the time, when the quota's burst is gone."""
    seconds = float(arguments["seconds"])
    start = time.monotonic()
    middle, end = start + seconds / 2, start + seconds
    pipes = []
    for _ in range(int(arguments["count"])):
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                os.close(reading)
                burn(middle)
                cpu, wall = time.process_time(), time.monotonic()
                burn(end)
                line = "%f %f %s" % (time.process_time() - cpu, time.monotonic() - wall, affinity())
                os.write(writing, line.encode())
            finally:
                os._exit(0)
        os.close(writing)
        pipes.append(reading)
    figures = []
    for reading in pipes:
        with os.fdopen(reading) as pipe:
            figures.append(pipe.read().split(" ", 2))
        os.wait()
    cores = sum(float(cpu) / float(wall) for cpu, wall, _ in figures)
    return {"cores": cores, "affinity": sorted({cpus for _, _, cpus in figures})}


def threads(arguments):
    """The same with threads of this process."""
    seconds = float(arguments["seconds"])
    start = time.monotonic()
    workers = [threading.Thread(target=burn, args=(start + seconds,)) for _ in range(int(arguments["count"]))]
    for worker in workers:
        worker.start()
    time.sleep(seconds / 2)
    cpu, wall = time.process_time(), time.monotonic()
    time.sleep(max(0.0, start + seconds * 0.98 - time.monotonic()))
    cores = (time.process_time() - cpu) / (time.monotonic() - wall)
    for worker in workers:
        worker.join()
    return {"cores": cores, "affinity": [affinity()]}


def affinity():
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def leave_core(arguments):
    """Move to every core there is, one after the other; got: those it could run on."""
    reached = set()
    before = os.sched_getaffinity(0)
    for core in range(os.cpu_count() or 1):
        try:
            os.sched_setaffinity(0, {core})
        except OSError:
            continue
        reached |= os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)
    return {"got": len(reached) > 1, "cores": sorted(reached)}


def raise_priority(arguments):
    """A higher priority than others: negative nice, then a real-time class."""
    found = {}
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        found["nice"] = True
    except OSError:
        found["nice"] = False
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        found["fifo"] = True
    except OSError:
        found["fifo"] = False
    return {"got": any(found.values()), **found}


ATTACKS = {
    "burn_processes": processes,
    "burn_threads": threads,
    "leave_core": leave_core,
    "raise_priority": raise_priority,
}
