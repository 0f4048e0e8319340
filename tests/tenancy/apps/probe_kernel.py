"""Doors into the kernel that no web application needs. Each is tried in a child, which may be killed for it."""

import ctypes
import mmap
import os
import signal
import socket

from attempts import MACHINE, Absent, call, in_child, syscall

X86 = MACHINE == "x86_64"
NEW_USER, NEW_NET, NEW_NS, NEW_PID = 0x10000000, 0x40000000, 0x00020000, 0x20000000
NUMBERS = {
    # name: x86_64, aarch64
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "pidfd_open": (434, 434),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
}


def number(name):
    return NUMBERS[name][0 if X86 else 1]


def mount():
    """A tmpfs over a directory of its own, taken away again."""
    folder = "/tmp/mounted-%d" % os.getpid()
    os.mkdir(folder)
    try:
        call("mount", b"none", folder.encode(), b"tmpfs", 0, b"size=64k")
        call("umount2", folder.encode(), 2)
    finally:
        os.rmdir(folder)


def remount_writable():
    """A bind mount of / that can be written to, in a mount namespace of its own."""
    call("unshare", NEW_NS)
    call("mount", b"none", b"/", None, 0x1000 | 0x20, None)  # MS_BIND | MS_REMOUNT, without MS_RDONLY


def unshare_user():
    call("unshare", NEW_USER)


def unshare_network():
    call("unshare", NEW_NET)


def unshare_user_and_mount():
    """The classic: root in a user namespace, then mounts."""
    call("unshare", NEW_USER | NEW_NS)
    call("mount", b"none", b"/tmp", b"tmpfs", 0, b"size=64k")


def clone3():
    """A child by clone3, in a user namespace: seccomp cannot look into its arguments."""
    arguments = (ctypes.c_uint64 * 8)(NEW_USER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = syscall(number("clone3"), arguments, ctypes.sizeof(arguments))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child in a user namespace of its own"


def set_namespace():
    """Enter the UTS namespace it is in already: the call itself."""
    with open("/proc/self/ns/uts") as namespace:
        call("setns", namespace.fileno(), 0)


def io_uring():
    parameters = ctypes.create_string_buffer(120)
    os.close(syscall(number("io_uring_setup"), 4, parameters))


def x32_call():
    """getpid by its x32 number: a filter that knows only the other ABI lets it pass."""
    if not X86:
        raise Absent("x32 is an ABI of x86_64")
    try:
        return syscall(0x40000000 | 39)
    except OSError as error:
        # A kernel without x32 has the same answer as a filter; `mkdir` could not tell them apart either.
        raise Absent("ENOSYS: by a filter, or by a kernel without CONFIG_X86_X32_ABI") from error


def i386_call():
    """getpid by int 0x80, which has the numbers of the 32-bit ABI: mov eax, 20; int 0x80; ret."""
    if not X86:
        raise Absent("int 0x80 is of x86")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    if result != os.getpid():
        raise OSError(38, "not our pid")
    return result


def become_root():
    """setuid(0); got only if we were not root before, or are and could do it again."""
    os.setuid(0)
    os.setgid(0)
    os.setgroups([0])
    if os.geteuid() != 0:
        raise OSError(1, "still not root")


def keyring():
    return syscall(number("keyctl"), 0, -3, 1)  # KEYCTL_GET_KEYRING_ID of the session, create


def bpf():
    """An array map of one element."""
    attributes = ctypes.create_string_buffer(128)
    for index, value in enumerate((2, 4, 4, 1)):
        ctypes.c_uint32.from_buffer(attributes, index * 4).value = value
    os.close(syscall(number("bpf"), 0, attributes, 128))


def perf():
    """A software counter (cpu clock) of this process."""
    attributes = ctypes.create_string_buffer(128)
    ctypes.c_uint32.from_buffer(attributes, 0).value = 1
    ctypes.c_uint32.from_buffer(attributes, 4).value = 128
    os.close(syscall(number("perf_event_open"), attributes, 0, -1, -1, 0))


def userfaultfd():
    os.close(syscall(number("userfaultfd"), 0))


def open_by_handle():
    """The way out of a chroot by file handles: the call must not even be there, or need CAP_DAC_READ_SEARCH."""
    handle = ctypes.create_string_buffer(b"\x08\x00\x00\x00\x01\x00\x00\x00" + b"\x02" + bytes(23))
    root = os.open("/", os.O_RDONLY)
    try:
        os.close(syscall(number("open_by_handle_at"), root, handle, 0))
    except OSError as error:
        # ESTALE: the call looked for the inode, so it was allowed.
        if error.errno != 116:
            raise
    finally:
        os.close(root)


def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()


def packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


def vsock():
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError as error:
        if error.errno == 97:
            raise Absent("EAFNOSUPPORT: by a filter, or by a kernel without vsock") from error
        raise


def load_module():
    """init_module of nothing: EINVAL or ENOEXEC is the kernel that looked at it, EPERM is one that did not."""
    try:
        syscall(number("init_module"), ctypes.create_string_buffer(4), 4, ctypes.create_string_buffer(1))
    except OSError as error:
        if error.errno == 38 and not os.path.exists("/proc/modules"):
            raise Absent("the kernel has no modules") from error
        if error.errno not in (8, 22):
            raise


def set_host_name():
    """The name it has already, so that nothing changes if it works."""
    name = os.uname().nodename.encode()
    call("sethostname", name, len(name))


def chroot():
    os.chroot("/")


def write_sysrq():
    """A space: prints a help text to the kernel's log, if it works."""
    write_file("/proc/sysrq-trigger", " ")


def write_sysctl():
    """Write back what is there."""
    path = "/proc/sys/kernel/hostname" if os.path.exists("/proc/sys/kernel/hostname") else "/proc/sys/vm/swappiness"
    with open(path) as file:
        before = file.read()
    write_file(path, before)


def write_oom_score():
    """Make itself the last to be killed."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")


def write_back(path):
    with open(path) as file:
        value = file.read()
    write_file(path, value)


def write_file(path, text):
    if not os.path.exists(path):
        raise Absent("there is no " + path)
    with open(path, "w") as file:
        file.write(text)


PROBES = {
    "mount": mount,
    "remount_writable": remount_writable,
    "unshare_user": unshare_user,
    "unshare_network": unshare_network,
    "unshare_user_and_mount": unshare_user_and_mount,
    "clone3": clone3,
    "set_namespace": set_namespace,
    "io_uring": io_uring,
    "x32_call": x32_call,
    "i386_call": i386_call,
    "become_root": become_root,
    "keyring": keyring,
    "bpf": bpf,
    "perf": perf,
    "userfaultfd": userfaultfd,
    "open_by_handle": open_by_handle,
    "raw_socket": raw_socket,
    "packet_socket": packet_socket,
    "vsock": vsock,
    "load_module": load_module,
    "set_host_name": set_host_name,
    "chroot": chroot,
    "write_sysrq": write_sysrq,
    "write_sysctl": write_sysctl,
    "write_oom_score": write_oom_score,
}


def probe(arguments):
    """The probe `name`."""
    return in_child(PROBES[arguments["name"]])


def leave_cgroup(arguments):
    """Move a child to the root of each cgroup hierarchy that is mounted; got: those that took it."""

    def move(path):
        with open(path, "w") as file:
            file.write(str(os.getpid()))

    found = {}
    for path in cgroup_mounts():
        for name in ("cgroup.procs", "tasks"):
            if os.path.exists(os.path.join(path, name)):
                found[path] = in_child(move, os.path.join(path, name))
                break
    return {"got": any(it["got"] for it in found.values()), "mounts": found}


def raise_cgroup_limits(arguments):
    """Write to the limits of its own groups, wherever they are, what is in there already; got: those that took it."""
    found = {}
    for path in cgroup_mounts():
        for folder in (path, *own_groups(path)):
            for name in ("pids.max", "memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max"):
                file = os.path.join(folder, name)
                if os.path.exists(file):
                    found[file] = in_child(write_back, file)
    return {"got": any(it["got"] for it in found.values()), "files": found}


def cgroup_mounts():
    with open("/proc/self/mountinfo") as file:
        lines = [line.split(" - ") for line in file]
    return [left.split()[4] for left, right in lines if right.split()[0] in ("cgroup", "cgroup2")]


def own_groups(mount_point):
    with open("/proc/self/cgroup") as file:
        paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
    return [mount_point + path for path in paths if path != "/" and os.path.isdir(mount_point + path)]


ATTACKS = {"probe": probe, "leave_cgroup": leave_cgroup, "raise_cgroup_limits": raise_cgroup_limits}
