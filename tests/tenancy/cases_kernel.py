"""Doors into the kernel, and the files and processes of others."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from findings import Finding, always, denied, leak
from registry import case
from stage import APPS, Stage

sys.path.append(str(APPS))
import probe_files  # noqa: E402
import probe_kernel  # noqa: E402

# What a filter answers (ENOSYS by default), and what the kernel itself answers to those without rights.
REFUSED = ("EPERM", "ENOSYS", "EACCES")
PROBES = {
    # probe: (what it is, constraints it needs, errors besides REFUSED)
    "mount": ("mount", ("seccomp",), ()),
    "remount_writable": ("remount of / as writable", ("seccomp",), ()),
    "unshare_user": ("unshare of the user namespace", ("seccomp",), ()),
    "unshare_network": ("unshare of the network namespace", ("seccomp",), ()),
    "unshare_user_and_mount": ("root in a user namespace, then a mount", ("seccomp",), ()),
    "clone3": ("clone3 into a user namespace", ("seccomp",), ()),
    "set_namespace": ("setns", ("seccomp",), ()),
    "io_uring": ("io_uring_setup", ("seccomp",), ()),
    "x32_call": ("a system call by its x32 number", ("seccomp",), ()),
    "i386_call": ("a system call by int 0x80", ("seccomp",), ("SIGSEGV",)),
    "become_root": ("setuid(0)", ("user_ids",), ("EINVAL",)),
    "keyring": ("keyctl", ("seccomp",), ()),
    "bpf": ("bpf", ("seccomp",), ()),
    "perf": ("perf_event_open", ("seccomp",), ()),
    "userfaultfd": ("userfaultfd", ("seccomp",), ()),
    "open_by_handle": ("open_by_handle_at", ("seccomp",), ()),
    "raw_socket": ("a raw socket", ("seccomp",), ("EAFNOSUPPORT",)),
    "packet_socket": ("a packet socket", ("seccomp",), ("EAFNOSUPPORT",)),
    "vsock": ("a vsock socket", ("seccomp",), ("EAFNOSUPPORT",)),
    "load_module": ("init_module", ("seccomp",), ()),
    "set_host_name": ("sethostname", ("seccomp",), ()),
    "chroot": ("chroot", ("seccomp",), ()),
    "write_sysrq": ("write to /proc/sysrq-trigger", ("mount_namespace",), ("EROFS",)),
    "write_sysctl": ("write to /proc/sys", ("mount_namespace",), ("EROFS",)),
    "write_oom_score": ("protect itself from the OOM killer", ("user_ids",), ("EROFS",)),
}


def register_probes() -> None:
    for name, (title, needs, errnos) in PROBES.items():

        def run(stage: Stage, name: str = name, errnos: tuple[str, ...] = errnos) -> Finding:
            return denied(stage.probe(name), *REFUSED, *errnos)

        def control(name: str = name) -> dict[str, Any]:
            return probe_kernel.probe({"name": name})

        case(title, needs=needs, control=control)(run)


register_probes()


@case("leave its cgroup", needs=("capabilities",))
def leave_cgroup(stage: Stage) -> Finding:
    answer = stage.attack("leave-cgroup")
    took = [path for path, it in answer.get("mounts", {}).items() if it["got"]]
    return Finding(f"taken by: {', '.join(took) or 'none'}", through=bool(took), held=not took)


@case("raise the limits of its cgroup", needs=("capabilities",))
def raise_cgroup_limits(stage: Stage) -> Finding:
    answer = stage.attack("raise-cgroup-limits")
    took = [path for path, it in answer.get("files", {}).items() if it["got"]]
    return Finding(f"taken by: {', '.join(took) or 'none'}", through=bool(took), held=not took)


# ---- processes of others ----


def others(stage: Stage) -> str:
    """Pids that are none of the attacker's business."""
    return ",".join(map(str, (stage.host.pid, stage.worker("victim"), stage.worker("neighbour"))))


@case("see processes of others", needs=("pid_namespace",))
def see_processes(stage: Stage) -> Finding:
    return denied(stage.attack("see-processes", others=others(stage), mark=""))


@case("read the environment of others", needs=("pid_namespace",))
def read_environment(stage: Stage) -> list[Finding]:
    return [
        denied(
            stage.attack("read-environment", target=stage.worker(app), secret=stage.secret), what=f"that of the {app}"
        )
        for app in ("victim", "neighbour")
    ]


@case("privileges that are left", needs=("seccomp", "user_ids", "capabilities"))
def privileges(stage: Stage) -> list[Finding]:
    """No capability, no way to get one by executing a file, a filter, a user that is not root's."""
    told = stage.attack("privileges")
    if told["status"] != 200:
        return [always(f"it answers ({told})", False)]
    return [
        leak(f"capabilities ({told['CapEff']}, bounding {told['CapBnd']})", int(told["CapEff"], 16) != 0),
        leak(f"privileges by setuid files (NoNewPrivs {told['NoNewPrivs']})", told["NoNewPrivs"] != "1"),
        leak(f"no system call filter (Seccomp {told['Seccomp']})", told["Seccomp"] != "2"),
        leak(f"runs as root (uid {told['uid']}, gid {told['gid']}, groups {told['groups']})", 0 in told["ids"]),
    ]


@case("descriptors it was not given", unprovable="nothing leaks without limits either, which is as it should be")
def descriptors(stage: Stage) -> Finding:
    """A directory or a file of the host among the open descriptors would be a way out of every mount namespace."""
    told = stage.attack("inherited")
    strange = told.get("strange", ["no answer"])
    return always(f"only pipes, sockets, /dev/null and its own libraries ({strange or 'yes'})", not strange)


@case("the machine's root by /proc", needs=("pid_namespace",))
def proc_root(stage: Stage) -> list[Finding]:
    found = []
    # That of process 1 is closed to root as well on some machines; inside, it is the application's own.
    for pid in (stage.host.pid,) if stage.model == "unlimited" else (1, stage.host.pid):
        answer = stage.attack("read-file", path=f"/proc/{pid}/root{stage.file}", secret=stage.secret)
        found.append(denied(answer, "ENOENT", "EACCES", "EPERM", what=f"/proc/{pid}/root"))
    return found


@case("read the memory of others", needs=("pid_namespace",))
def read_memory(stage: Stage) -> list[Finding]:
    missing = ("ENOENT", "ESRCH")
    target = stage.worker("victim")
    return [
        denied(stage.attack("read-memory", target=target), *REFUSED, *missing, what="/proc/PID/mem"),
        denied(stage.attack("read-remote-memory", target=target), *REFUSED, *missing, what="process_vm_readv"),
    ]


@case("signal processes of others", needs=("pid_namespace",))
def send_signal(stage: Stage) -> list[Finding]:
    """Signal 0 to everybody; a real SIGKILL to the victim, which must live on."""
    found = [denied(stage.attack("sweep-signals", others=others(stage)), what="signal 0 to every pid")]
    for app in ("victim", "neighbour"):
        target = stage.worker(app)
        answer = stage.attack("send-signal", target=target, number=9 if app == "victim" else 0)
        found.append(denied(answer, "ESRCH", "EPERM", what=f"to the {app}"))
        found.append(
            always(f"the {app}'s worker is the same", stage.model == "unlimited" or stage.worker(app) == target)
        )
    answer = stage.attack("send-signal", target=stage.host.pid, number=0)
    return [*found, denied(answer, "ESRCH", "EPERM", what="to the host")]


@case("trace processes of others", needs=("pid_namespace", "seccomp"))
def trace(stage: Stage) -> list[Finding]:
    return [
        denied(stage.attack("trace", target=stage.worker("victim")), *REFUSED, "ESRCH", what="the victim"),
        denied(stage.attack("trace-own-child"), *REFUSED, what="a child of its own"),
    ]


# ---- files of others ----


@case("read another application's data", needs=("disk_space", "mount_namespace"))
def read_data(stage: Stage) -> list[Finding]:
    kept = stage.attack("keep-secret", app="victim", secret=stage.secret)
    if kept["status"] != 200:
        return [always(f"the victim can write to its data directory ({kept})", False)]
    found = [
        denied(stage.attack("read-file", path=kept["path"], secret=stage.secret), what="by the path the victim has"),
        denied(stage.attack("link-out", name="out", target=kept["path"], secret=stage.secret), what="by a link"),
    ]
    answer = stage.attack("find-secret", root=str(stage.folder), secret=stage.secret)
    found.append(denied(answer, what="by searching the state directory and all around it"))
    return found


@case("read the host's state", needs=("landlock",))
def read_state(stage: Stage) -> list[Finding]:
    hidden = ("ENOENT", "EACCES", "EPERM", "ENOSYS")
    return [
        # The way to its own data directory may lead through it; what the host keeps there must not be seen.
        denied(stage.attack("list-directory", path=stage.state, of="control.sock"), what="list the state directory"),
        denied(stage.attack("list-directory", path=stage.state / "logs"), what="list the logs"),
        # Without an error: in its place is an empty file.
        denied(stage.attack("read-file", path=stage.file, secret=stage.secret), what="read serpentry.toml"),
        denied(
            stage.attack("talk-to-unix-socket", path=stage.state / "control.sock"), *hidden, what="the control socket"
        ),
    ]


@case("read files that only root may read", needs=("capabilities",))
def read_shadow(stage: Stage) -> Finding:
    if not os.path.exists("/etc/shadow"):
        return Finding("", False, False, absent="there is no /etc/shadow")
    return denied(stage.attack("read-file", path="/etc/shadow"), "EACCES", "ENOENT", "EPERM")


@case("make device nodes", needs=("capabilities",), control=lambda: probe_files.devices({"where": "/var/tmp"}))
def make_devices(stage: Stage) -> Finding:
    return denied(stage.attack("devices"))


@case("write outside its own directory", needs=("mount_namespace",))
def write_everywhere(stage: Stage) -> list[Finding]:
    places = [str(stage.folder), str(stage.state), "/etc", "/usr", "/var/tmp", "/run", os.path.expanduser("~root")]
    places = [place for place in places if os.path.isdir(place)]
    answer = stage.attack("write-everywhere", where=":".join(places))
    kept = [place for place in answer.get("made", []) if place not in ("/run", "/var/tmp")]
    text = f"could write to {', '.join(kept) or 'none'}"
    found = [Finding(text, through=bool(kept), held=not kept)]
    inside = stage.attack("write-everywhere", where=str(APPS))
    return [*found, denied(inside, what="the application's own directory")]


@case("plant files in the machine's /tmp", needs=("mount_namespace",))
def private_tmp(stage: Stage) -> Finding:
    """A private /tmp takes the file, and nobody else sees it."""
    before = set(os.listdir("/tmp"))
    marker = f"tenancy-{stage.secret}"
    stage.attack("plant", path=f"/tmp/{marker}")
    seen = marker in set(os.listdir("/tmp")) - before
    if seen:
        os.unlink(f"/tmp/{marker}")
    return leak("seen outside", seen)


@case("listen on an abstract Unix socket of the machine", needs=("network_namespace",))
def abstract_socket(stage: Stage) -> Finding:
    name = f"tenancy-{stage.secret}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        return denied(stage.attack("talk-to-unix-socket", path="@" + name), "ECONNREFUSED", "EPERM", "EACCES")


@case(
    "swap symbolic links under the host's feet",
    needs=("disk_space", "mount_namespace"),
    unprovable="without limits the host does nothing in there",
)
def swap_links(stage: Stage) -> list[Finding]:
    """The attacker swaps entries of its data directory for links outward while the host works in there.

    What the host does there is starting workers: each restart makes or opens the volume. Nothing may appear at the
    link's target, and no start may fail.
    """
    outside = stage.folder / "outside"
    outside.mkdir(exist_ok=True)
    for name in ("run", "tmp", "log", "lost+found"):
        stage.attack("swap-links", name=name, target=str(outside), seconds="3")
    answers = [stage.host.run("restart", "attacker", seconds=60).returncode for _ in range(3)]
    held = not any(outside.iterdir())
    return [
        always(f"restarts went well ({answers})", answers == [0, 0, 0]),
        always("nothing was made outside", held),
    ]
