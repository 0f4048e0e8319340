"""Files of others: read them, swap symbolic links under whoever opens things in this application's directory."""

import os
import socket
import stat
import threading
import time

from attempts import attempt, data_directory


def read_file(arguments):
    """Read `path`; got: `secret` is in it (or it could be read, if there is none)."""

    def read():
        with open(arguments["path"], "rb") as file:
            return file.read(65536).decode(errors="replace")

    answer = attempt(read)
    if answer["got"] and arguments.get("secret"):
        answer["got"] = arguments["secret"] in answer["value"]
    answer.pop("value", None)
    return answer


def find_secret(arguments):
    """Walk from `root` and search every file for `secret`; got: where it was found."""
    secret, found, seen = arguments["secret"].encode(), [], 0
    until = time.monotonic() + float(arguments.get("seconds", "5"))
    for folder, _, files in os.walk(arguments["root"]):
        for name in files:
            path = os.path.join(folder, name)
            try:
                if not stat.S_ISREG(os.stat(path).st_mode):
                    continue
                with open(path, "rb") as file:
                    seen += 1
                    if secret in file.read(1 << 20):
                        found.append(path)
            except OSError:
                continue
        if time.monotonic() > until:
            break
    return {"got": bool(found), "found": found, "files": seen}


def list_directory(arguments):
    """Got: `of` is in it, or anything if that is not given."""
    answer = attempt(os.listdir, arguments["path"])
    answer["got"] = answer["got"] and (
        arguments["of"] in answer["value"] if "of" in arguments else bool(answer["value"])
    )
    return answer


def talk_to_unix_socket(arguments):
    """Connect to the Unix socket at `path` (an abstract one if it begins with @)."""

    def connect():
        path = arguments["path"]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect("\0" + path[1:] if path.startswith("@") else path)

    return attempt(connect)


def swap_links(arguments):
    """For `seconds`, replace `name` in the data directory by a link to `target`, a directory and a file in turn."""
    path = os.path.join(data_directory(), arguments["name"])
    until = time.monotonic() + float(arguments["seconds"])
    swaps = [0]

    def clear():
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            else:
                os.unlink(path)
        except OSError:
            pass

    def swap():
        while time.monotonic() < until:
            for make in (
                lambda: os.symlink(arguments["target"], path),
                lambda: os.mkdir(path),
                lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)),
            ):
                try:
                    make()
                    swaps[0] += 1
                except OSError:
                    pass
                clear()

    threading.Thread(target=swap, daemon=True).start()
    return {"path": path}


def link_out(arguments):
    """Put a link to `target` into the data directory as `name`, and read through it."""
    path = os.path.join(data_directory(), arguments["name"])
    if os.path.islink(path):
        os.unlink(path)
    attempt(os.symlink, arguments["target"], path)
    return read_file({"path": path, "secret": arguments.get("secret", "")})


def plant(arguments):
    """An empty file at `path`."""
    path = arguments["path"]
    return attempt(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)))


def keep_secret(arguments):
    """What a polite application does: a secret in its data directory."""
    path = os.path.join(data_directory(), "secret.txt")
    with open(path, "w") as file:
        file.write(arguments["secret"])
    return {"path": path}


NODES = (("null", stat.S_IFCHR, 1, 3), ("mem", stat.S_IFCHR, 1, 1))


def devices(arguments):
    """Make device nodes and open them: the harmless null device, memory, the disk that / is on."""
    found = {}
    for name, kind, major, minor in NODES + (("disk", stat.S_IFBLK, *first_disk()),):
        path = os.path.join(arguments.get("where") or data_directory(), "node-" + name)

        def take():
            os.mknod(path, kind | 0o600, os.makedev(major, minor))
            try:
                os.close(os.open(path, os.O_RDONLY))
            finally:
                os.unlink(path)

        found[name] = attempt(take)
    return {"got": any(it["got"] for it in found.values()), "nodes": found}


def first_disk():
    """Major and minor number of what / is on, or of a usual disk if that is no device."""
    number = os.stat("/").st_dev
    return (os.major(number), os.minor(number)) if os.major(number) else (254, 0)


ATTACKS = {
    "read_file": read_file,
    "find_secret": find_secret,
    "list_directory": list_directory,
    "talk_to_unix_socket": talk_to_unix_socket,
    "swap_links": swap_links,
    "link_out": link_out,
    "plant": plant,
    "keep_secret": keep_secret,
    "devices": devices,
}
