"""Processes of others: see, read, signal and trace them."""

import ctypes
import os
import signal

from attempts import attempt, call, in_child

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
PROCESS_VM_READV = {"x86_64": 310, "aarch64": 270}


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def see_processes(arguments):
    """Processes whose command line can be read; got: those of `others` (pids, separated by commas) among them."""
    others = {int(it) for it in arguments["others"].split(",")}
    seen = set()
    for pid in pids():
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                if file.read() and arguments.get("mark", "") in environment(pid):
                    seen.add(pid)
        except OSError:
            continue
    return {"got": bool(seen & others), "seen": len(seen), "others": sorted(seen & others)}


def environment(pid):
    with open("/proc/%d/environ" % pid, "rb") as file:
        return file.read().decode(errors="replace")


def read_environment(arguments):
    """/proc/PID/environ of `target`, and of every process that can be found; got: `secret` is in one."""
    found, errors = [], {}
    for pid in {int(arguments["target"]), *pids()} - {os.getpid()}:
        try:
            if arguments["secret"] in environment(pid):
                found.append(pid)
        except OSError as error:
            errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
    return {"got": bool(found), "found": found, "errors": errors}


def read_memory(arguments):
    """Open /proc/PID/mem of `target` and read its first mapping."""

    def read():
        target = int(arguments["target"])
        with open("/proc/%d/maps" % target) as maps:
            start = int(maps.readline().split("-")[0], 16)
        with open("/proc/%d/mem" % target, "rb", buffering=0) as memory:
            memory.seek(start)
            return len(memory.read(16))

    return attempt(read)


def send_signal(arguments):
    """`number` to `target`."""
    return attempt(os.kill, int(arguments["target"]), int(arguments.get("number", "0")))


def sweep_signals(arguments):
    """Signal 0 to every possible pid: how many processes that are not ours could be signalled."""
    # In a PID namespace of one's own everything there is is one's own.
    ours = {os.getpid(), os.getppid()} if os.getppid() == 0 else {os.getpid()}
    others = {int(it) for it in arguments["others"].split(",")}
    reached = set()
    for pid in range(1, min(4194304, int(arguments.get("highest", "65536")))):
        if pid in ours:
            continue
        try:
            os.kill(pid, 0)
            reached.add(pid)
        except OSError:
            continue
    return {"got": bool(reached & others), "reached": len(reached), "others": sorted(reached & others)}


def trace(arguments):
    """PTRACE_ATTACH to `target`, then let go of it."""

    def attach(target):
        call("ptrace", PTRACE_ATTACH, target, None, None)
        os.waitpid(target, 0x40000000)  # __WALL
        call("ptrace", PTRACE_DETACH, target, None, None)

    return in_child(attach, int(arguments["target"]))


def trace_own_child(arguments):
    """PTRACE_ATTACH to a child of its own: the call itself."""

    def attach():
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        try:
            call("ptrace", PTRACE_ATTACH, child, None, None)
            os.waitpid(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    return in_child(attach)


def privileges(arguments):
    """What /proc/self/status says about privileges."""
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    told = {name: lines.get(name, "") for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    ids = [*os.getresuid(), *os.getresgid(), *os.getgroups()]
    return {**told, "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "ids": ids}


def inherited(arguments):
    """Open descriptors that are neither sockets, pipes, anonymous nor the null device."""
    strange = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue  # The list's own.
        if not target.startswith(("socket:", "pipe:", "anon_inode:", "/dev/null", "/proc/")):
            strange.append(name + ": " + target)
    return {"strange": strange}


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read_remote_memory(arguments):
    """process_vm_readv of `target`, at an address that every process of this program maps."""
    from attempts import MACHINE, syscall

    def read(target):
        buffer = ctypes.create_string_buffer(16)
        with open("/proc/%d/maps" % target) as maps:
            start = int(maps.readline().split("-")[0], 16)
        local, remote = IoVec(ctypes.addressof(buffer), 16), IoVec(start, 16)
        return syscall(PROCESS_VM_READV[MACHINE], target, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)

    return in_child(read, int(arguments["target"]))


ATTACKS = {
    "see_processes": see_processes,
    "read_environment": read_environment,
    "read_memory": read_memory,
    "send_signal": send_signal,
    "sweep_signals": sweep_signals,
    "trace": trace,
    "trace_own_child": trace_own_child,
    "privileges": privileges,
    "inherited": inherited,
    "read_remote_memory": read_remote_memory,
}
