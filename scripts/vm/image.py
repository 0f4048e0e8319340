"""What is inside the virtual machine: busybox, tools and a Python of this machine, the kernel's modules, our tree, our programs.

Made anew for every run, so it is never stale: it takes about a second. Not a distribution: no package manager, no
service manager, no network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from cpio import Archive
from kernel import Kernel, Unavailable, module_bytes

ROOT = Path(__file__).resolve().parent.parent.parent
GUEST = Path(__file__).resolve().parent / "guest"
# Taken from this machine if it has them, in place of busybox's smaller ones.
TOOLS = (
    *("ip", "tc", "ss", "nft", "mke2fs", "mkfs.ext4", "e2fsck", "tune2fs", "resize2fs", "dumpe2fs", "debugfs"),
    *("sh", "bash", "mount", "umount", "losetup", "unshare", "nsenter", "setpriv", "findmnt", "prlimit", "taskset", "ionice", "strace"),
)
# Of the tree: what tests are and use.
TREE = ("scripts", "tests", "examples", "docs", "packaging")
# Of Python's standard library: what a server never imports.
NOT_NEEDED = re.compile(
    r"^(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|dist-packages|config-.*|pydoc_data|lib-old)$"
    r"|^(_tkinter|_test.*|_ctypes_test|xxlimited.*|_xx.*|turtle)\b.*$|\.(opt-1|opt-2)\.pyc$"
)
# Directories that are somebody's work in progress, never tests.
NOT_COPIED = {"__pycache__", ".venv", "venv", "node_modules", ".git"}
# A library of this size carries debugging information (a Python that was built here).
LARGE = 8 << 20
PROGRAM = ROOT / "target/release/serpentry"


def build(kernel: Kernel, program: Path, tests: list[Path], extra: list[Path], steps: list[dict[str, object]] | None) -> Archive:
    """The file system of a machine that runs the steps, or gives a shell if there are none."""
    archive = Archive()
    for directory in ("/proc", "/sys", "/dev", "/run", "/tmp", "/vm/root", "/disk", "/mnt", "/root", "/var/tmp", "/usr/lib64"):
        archive.directory(directory)
    archive.device("/dev/console", 5, 1)
    archive.device("/dev/null", 1, 3)
    accounts(archive)
    archive.file("/init", GUEST / "init", 0o755)
    archive.file("/vm/steps.py", GUEST / "steps.py")
    archive.text("/vm/tree", f"{ROOT}\n")
    for module in kernel.modules:
        archive.data(f"/vm/modules/{module.name.removesuffix('.xz')}", module_bytes(module))
    archive.text("/vm/modules.list", "".join(f"{module.name.removesuffix('.xz')}\n" for module in kernel.modules))
    dynamic = [*python(archive), *tools(archive)]
    tree(archive)
    # Where it is on a machine that built it: tests find it there without being told.
    archive.file(str(PROGRAM), stripped(program), 0o755)
    for test in tests:
        archive.file(str(test), stripped(test), 0o755)
    for path in extra:
        copy(archive, path)
    libraries(archive, [*dynamic, program, *tests])
    busybox(archive)
    if steps is not None:
        archive.text("/vm/steps.json", json.dumps({"steps": steps}))
    return archive


def accounts(archive: Archive) -> None:
    """Names for users, and for this machine."""
    archive.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    archive.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
    archive.text("/etc/hosts", "127.0.0.1 localhost v2\n::1 localhost\n")
    archive.text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")


def python(archive: Archive) -> list[Path]:
    """The interpreter that runs us, at the same place, with its standard library; returns what needs libraries."""
    if sys.version_info < (3, 10):
        raise Unavailable(f"python3 is {sys.version.split()[0]}, and the tests need 3.10 or newer")
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    archive.file(str(executable), executable, 0o755)
    for name in ("python3", f"python3.{sys.version_info.minor}"):
        if f"/usr/bin/{name}" not in archive:
            archive.link(f"/usr/bin/{name}", str(executable))
        if str(executable.parent / name) not in archive:
            archive.link(str(executable.parent / name), str(executable))
    places = {"stdlib", "platstdlib"}
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    found = [executable]
    for directory in {Path(sysconfig.get_path(name, vars=base)) for name in places}:
        for path in files(directory, NOT_NEEDED.search):
            archive.file(str(path), path)
            if path.suffix == ".so":
                found.append(path)
    return found


def tools(archive: Archive) -> list[Path]:
    """Programs of this machine that tests may use; returns what needs libraries."""
    places = f"/usr/sbin:/sbin:/usr/bin:/bin:{os.environ.get('PATH', '')}"
    found = [Path(path) for name in TOOLS if (path := shutil.which(name, path=places))]
    for path in found:
        archive.file(f"/usr/{'bin' if path.name in ('sh', 'bash') else 'sbin'}/{path.name}", path, 0o755)
    return found


def tree(archive: Archive) -> None:
    """The tests and what they are made of, at the same place as here: compiled tests have that path inside."""
    for name in TREE:
        copy(archive, ROOT / name)


def copy(archive: Archive, path: Path) -> None:
    """A file or a directory, at the same place."""
    if not path.is_dir():
        archive.file(str(path), path)
        return
    for found in files(path, NOT_COPIED.__contains__):
        archive.file(str(found), found)


def files(directory: Path, skipped) -> list[Path]:  # noqa: ANN001 - a name's predicate
    """All regular files below the directory, but those with a skipped name on the way."""
    found: list[Path] = []
    for place, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if not skipped(name))
        found += [path for name in sorted(names) if not skipped(name) and (path := Path(place, name)).is_file()]
    return found


def stripped(program: Path) -> Path:
    """The program without debugging information, which is most of it; itself if there is no `strip`."""
    if shutil.which("strip") is None:
        return program
    found = program.stat()
    cache = ROOT / "target/vm/stripped"
    # The name says which build it is of: size and time of the file, as make and cargo judge it.
    copy = cache / f"{program.name}-{found.st_size}-{found.st_mtime_ns}"
    if not copy.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(f"{program.name}-*"):
            old.unlink()
        unfinished = copy.with_suffix(".new")
        subprocess.run(["strip", "-o", str(unfinished), str(program)], check=True)
        unfinished.rename(copy)
    return copy


def libraries(archive: Archive, programs: list[Path]) -> None:
    """The shared libraries of the programs and the loader, at the same places."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if "not found" in line:
            raise Unavailable(f"a shared library is missing here: {line.strip()}")
        if match := re.match(r"\s+(?:\S+ => )?(/\S+) \(0x", line):
            path = Path(match[1])
            archive.file(match[1], stripped(path.resolve()) if path.stat().st_size > LARGE else path, 0o755)
    # Where libraries are outside the standard places.
    if Path("/etc/ld.so.cache").is_file():
        archive.file("/etc/ld.so.cache", Path("/etc/ld.so.cache"))


def needed() -> Path:
    """Say what is missing before anything is done; returns busybox."""
    places = f"/usr/sbin:/sbin:/usr/bin:/bin:{os.environ.get('PATH', '')}"
    for tool, package in (("mke2fs", "e2fsprogs"), ("ldd", "libc-bin"), ("tc", "iproute2"), ("unshare", "util-linux")):
        if shutil.which(tool, path=places) is None:
            raise Unavailable(f"{tool} is missing; install {package}")
    found = shutil.which("busybox", path=places)
    # One that names a loader is not the static one.
    if found is None or b"/ld-linux" in Path(found).read_bytes()[:4096]:
        raise Unavailable("a statically linked busybox is missing; install busybox-static")
    return Path(found)


def busybox(archive: Archive) -> None:
    """A statically linked busybox and a link for each of its programs that is not there already."""
    found = needed()
    archive.file("/usr/bin/busybox", found, 0o755)
    listed = subprocess.run([str(found), "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    for path in listed:
        name = path.rsplit("/", 1)[-1]
        if name in ("busybox", "init", "python3") or any(f"/usr/{place}/{name}" in archive for place in ("bin", "sbin")):
            continue
        archive.link(f"/{path}" if path.startswith(("usr/", "bin/", "sbin/")) else f"/usr/bin/{name}", "/usr/bin/busybox")

