"""An initial file system for the kernel, as a cpio archive in the "newc" format.

Written here rather than by the cpio program: owners are root and device nodes exist whoever runs this, and the archive
is the same for the same content. Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

# On a merged /usr these are links; a file below one of them is stored where it really is.
MERGED = ("bin", "sbin", "lib", "lib64", "lib32")
END = "TRAILER!!!"


class Archive:
    """Collects entries by path, then writes them with their parents."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[int, bytes | Path, int, tuple[int, int]]] = {}
        """Path without a leading slash: mode, content or its file, time, device numbers."""
        for name in MERGED:
            self.link(f"/{name}", f"usr/{name}")

    def file(self, path: str, source: Path, mode: int | None = None) -> None:
        """A copy of a file of this machine (of its target, if it is a link), with its time: bytecode caches depend on it."""
        found = source.stat()
        kind = stat.S_IMODE(found.st_mode) & 0o755 | 0o444 if mode is None else mode
        self.put(path, stat.S_IFREG | kind, source.resolve(), int(found.st_mtime))

    def text(self, path: str, content: str, mode: int = 0o644) -> None:
        """A file with this content."""
        self.put(path, stat.S_IFREG | mode, content.encode())

    def data(self, path: str, content: bytes) -> None:
        """A file with these bytes."""
        self.put(path, stat.S_IFREG | 0o644, content)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """An empty directory."""
        self.put(path, stat.S_IFDIR | mode, b"")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self.put(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int) -> None:
        """A character device."""
        self.put(path, stat.S_IFCHR | 0o600, b"", device=(major, minor))

    def put(
        self, path: str, mode: int, content: bytes | Path, time: int = 0, device: tuple[int, int] = (0, 0)
    ) -> None:
        """An entry, in place of an earlier one of the same path; its parents if there are none yet."""
        name = merged(path)
        for parent in reversed(PurePosixPath(name).parents):
            if str(parent) != ".":
                self.entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", 0, (0, 0)))
        self.entries[name] = (mode, content, time, device)

    def __contains__(self, path: str) -> bool:
        return merged(path) in self.entries

    def write(self, output: BinaryIO) -> int:
        """The archive; returns its size. Parents are put before children: the kernel makes no directories by itself."""
        size = 0
        for number, (name, entry) in enumerate(sorted(self.entries.items())):
            mode, content, time, device = entry
            body = content.read_bytes() if isinstance(content, Path) else content
            size += output.write(record(number + 1, name, mode, body, time, device))
        return size + output.write(record(0, END, 0, b"", 0, (0, 0)))


def merged(path: str) -> str:
    """/lib/x.so is usr/lib/x.so; no leading slash."""
    name = path.lstrip("/")
    first, separator, _ = name.partition("/")
    return f"usr/{name}" if separator and first in MERGED else name


def record(number: int, name: str, mode: int, body: bytes, time: int, device: tuple[int, int]) -> bytes:
    """Header, name and content, each padded to four bytes."""
    links = 2 if stat.S_ISDIR(mode) else 1
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, links, time, len(body), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return header + bytes(-len(header) % 4) + body + bytes(-len(body) % 4)
