"""A kernel for the virtual machine: Debian's cloud kernel package, fetched by apt and unpacked into target/, not installed.

Not a package manager: it downloads one .deb whose checksum apt knows, and reads from it the image and the modules we load.
"""

from __future__ import annotations

import hashlib
import lzma
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What the tests need that Debian builds as modules: the disk, volumes, private networks with a rate, egress rules.
# A module that a kernel has built in, or does not have, is not an error here: `machine.py` of the tests looks at the result.
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "loop",
    "overlay",
    "veth",
    "dummy",
    "bridge",
    "sch_tbf",
    "sch_htb",
    "sch_fq_codel",
    "sch_ingress",
    "cls_u32",
    "cls_matchall",
    "act_police",
    "nf_tables",
    "nf_conntrack",
    "nf_nat",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_chain_nat",
    "nft_limit",
    "nft_log",
    "nft_quota",
    "nft_connlimit",
    "nft_reject",
    "nft_reject_inet",
    "nft_socket",
    "bfq",
)


class Unavailable(Exception):
    """This machine cannot give us the virtual machine; the text is one sentence that says what is missing."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    release: str
    image: Path
    modules: tuple[Path, ...]
    """In the order in which they can be loaded: what a module depends on is before it."""


def fetch(cache: Path, wanted: str = "") -> Kernel:
    """The newest cloud kernel that apt knows whose version starts with `wanted`, from the cache if its checksum is right."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"this machine is {platform.machine()}, and the virtual machine runs programs for x86_64")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing, and the kernel comes from a Debian package")
    package = newest(run("apt-cache", "pkgnames", "linux-image-").split(), wanted)
    fields = record(run("apt-cache", "show", "--no-all-versions", package))
    unpacked = cache / "kernel" / f"{package}_{fields['Version'].replace(':', '%3a')}"
    done = unpacked / "sha256"
    if not done.is_file() or done.read_text() != fields["SHA256"]:
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir(parents=True)
        archive = download(package, fields["SHA256"], unpacked)
        run("dpkg-deb", "--extract", str(archive), str(unpacked))
        archive.unlink()
        # Written last: an interrupted download or extraction is begun again.
        done.write_text(fields["SHA256"])
    image = one(unpacked, "boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    return Kernel(release, image, tuple(in_order(one(unpacked, f"**/modules/{release}"))))


def newest(packages: list[str], wanted: str) -> str:
    """linux-image-6.12.117+deb12-cloud-amd64 rather than linux-image-6.1.0-56-cloud-amd64."""
    pattern = re.compile(r"linux-image-(\d+\.\d+\.\d+[^/]*)-cloud-amd64")
    found = {match[1]: name for name in packages if (match := pattern.fullmatch(name)) and match[1].startswith(wanted)}
    if not found:
        which = f" {wanted}*" if wanted else ""
        raise Unavailable(f"apt knows no package linux-image{which}-cloud-amd64; run `apt-get update` on a Debian machine")
    return found[max(found, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])]


def record(text: str) -> dict[str, str]:
    """The fields of the first package of `apt-cache show`."""
    return dict(line.split(": ", 1) for line in text.split("\n\n")[0].splitlines() if re.match(r"[A-Za-z0-9-]+: ", line))


def download(package: str, sha256: str, directory: Path) -> Path:
    """Fetch the .deb into the directory and check it once more: what apt verified is what we unpack."""
    run("apt-get", "download", package, directory=directory)
    archive = one(directory, "*.deb")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        raise Unavailable(f"the downloaded {archive.name} is not what apt announced")
    return archive


def in_order(directory: Path) -> list[Path]:
    """The files of MODULES and of all they depend on, dependencies first. The package has no modules.dep: depmod makes it."""
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in directory.rglob("*.ko*")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in files and name not in ordered:
            for dependency in dependencies(files[name]):
                add(dependency)
            ordered[name] = files[name]

    for name in MODULES:
        add(name)
    return list(ordered.values())


def dependencies(module: Path) -> list[str]:
    """The `depends=` entry of the module's .modinfo section."""
    match = re.search(rb"\0depends=([^\0]*)\0", module_bytes(module))
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []


def module_bytes(module: Path) -> bytes:
    """The module as insmod wants it."""
    content = module.read_bytes()
    return lzma.decompress(content) if module.suffix == ".xz" else content


def one(directory: Path, pattern: str) -> Path:
    """The one path that matches."""
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise Unavailable(f"the kernel package has {len(found)} files {pattern} where one was expected")
    return found[0]


def run(*command: str, directory: Path | None = None) -> str:
    """Standard output of a command of apt or dpkg."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"`{' '.join(command)}` failed: {last}")
    return done.stdout
