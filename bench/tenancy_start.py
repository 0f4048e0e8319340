"""How long a worker takes to start and how much memory it has, shared and isolated; and what `crun` takes.

A start is measured from outside: an application without workers (`workers.min = 0`) gets a request, and the time until
its answer is taken; what the request itself takes is subtracted (a second one, on the running worker). Both
applications have the same code. The first start of an isolated application also makes its volume; it is reported by
itself. `crun run` of /bin/true, with the same kinds of namespaces, is the time of a container without any Python in it;
beside it stands /bin/true alone. Each kind in turn, so that a busy machine is busy for all.
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import toml_text
from hosting import Host, memory_kib

APPS = Path(__file__).resolve().parent / "apps"
MODELS = ("shared", "isolated")
CONTAINER = "serpentry-bench"
# crun refuses machines that have version 1 controllers and the version 2 hierarchy beside them: in a mount namespace of
# its own the latter is taken away. Reads a container's name per line, answers with seconds or with what went wrong.
HELPER = """
import os, subprocess, sys, time
if any(" - cgroup " in line for line in open("/proc/self/mountinfo")):
    for line in open("/proc/self/mountinfo").readlines():
        if " - cgroup2 " in line:
            subprocess.run(["umount", line.split()[4]], check=True)
for name in sys.stdin:
    started = time.monotonic()
    try:
        done = subprocess.run({command!r} + [name.strip()], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        print(error, flush=True)
        continue
    took = time.monotonic() - started
    print(took if done.returncode == 0 else " ".join(done.stderr.split()), flush=True)
"""


def run(program: Path, folder: Path, python: str, count: int) -> dict[str, Any]:
    """Seconds and bytes: medians, smallest, largest."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bundle = Bundle(folder / "bundle")
    try:
        return repeat(program, folder, python, count, bundle)
    finally:
        bundle.end()


def repeat(program: Path, folder: Path, python: str, count: int, bundle: Bundle) -> dict[str, Any]:
    """Each kind in turn, `count` times."""
    samples: dict[str, list[float]] = {"shared": [], "isolated": [], "crun": [], "true": []}
    memory: dict[str, list[float]] = {model: [] for model in MODELS}
    first: dict[str, float] = {}
    problems: list[str] = []
    for number in range(count + 1):
        host = start(program, folder, python)
        try:
            # In turn, so that neither is always the first.
            for model in MODELS if number % 2 else reversed(MODELS):
                seconds = cold(host, model)
                if number == 0:
                    first[model] = seconds
                else:
                    samples[model].append(seconds)
                    memory[model].append(pss(host, model))
            host.stop(40)
        finally:
            host.kill()
        if number:
            samples["true"].append(timed(["/bin/true"]))
            try:
                samples["crun"].append(bundle.timed())
            except OSError as error:
                problems = [f"crun cannot be measured here: {error}"]
        print(
            f"  {number}/{count} { ({k: round(v[-1] * 1000, 1) for k, v in samples.items() if v}) } ms", file=sys.stderr
        )
    extra = [isolated - shared for isolated, shared in zip(samples["isolated"], samples["shared"])]
    container = [crun - true for crun, true in zip(samples["crun"], samples["true"])]
    return {
        "count": count,
        "first": first,
        "seconds": {name: spread(values) for name, values in samples.items() if values},
        "isolation": spread(extra),
        "container": spread(container) if container else None,
        "bytes": {model: spread(values) for model, values in memory.items()},
        "problems": problems,
    }


def start(program: Path, folder: Path, python: str) -> Host:
    """A host with both applications asleep; the state directory stays from one to the next."""
    apps = {
        model: {
            "app": "tenancy_victim:app",
            "directory": str(APPS),
            "python": python,
            "routes": [f"/{model}"],
            "tenancy": model,
            "workers": {"min": 0, "max": 1, "idle": "5m"},
            # A whole core: with less of one, a start waits for its quota's next period, which is not what isolation costs.
            "limits": {"cpu": 1, "memory": "128MiB", "disk_space": "64MiB"} if model == "isolated" else {},
        }
        for model in MODELS
    }
    file, state = folder / "serpentry.toml", folder / "state"
    file.write_text(toml_text.document({"listen": ["127.0.0.1:0"], "state": str(state)}, apps))
    return Host(program, file, state, environment={"PYTHONDONTWRITEBYTECODE": "1"}).wait_until_ready(60)


def cold(host: Host, model: str) -> float:
    """Seconds of a request that starts the worker, above those of one that does not."""
    address = host.address
    assert isinstance(address, tuple)
    connection = http.client.HTTPConnection(*address, timeout=60)
    took = []
    for _ in range(2):
        started = time.monotonic()
        connection.request("GET", f"/{model}/")
        response = connection.getresponse()
        response.read()
        took.append(time.monotonic() - started)
        if response.status != 200:
            raise host.error(f"{model} answered {response.status}")
    connection.close()
    return took[0] - took[1]


def pss(host: Host, model: str) -> float:
    """Proportional memory of the application's worker, and of whatever else was started for it, in bytes."""
    workers = host.serving_pids(model)
    pids = set(workers)
    for pid in workers:
        # A process between the host and the worker (the first of a PID namespace) is a cost of isolation too.
        while (parent := parent_of(pid)) not in (0, 1, host.pid):
            pids.add(parent)
            pid = parent
    return sum((memory_kib(pid, "Pss") or 0) * 1024.0 for pid in pids)


def parent_of(pid: int) -> int:
    """Its parent; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def timed(command: list[str]) -> float:
    """Seconds until it has ended well."""
    started = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=30)
    return time.monotonic() - started


def spread(values: list[float]) -> list[float]:
    """Median, smallest, largest."""
    return [statistics.median(values), min(values), max(values)]


class Bundle:
    """An OCI bundle that runs the machine's own /bin/true in namespaces of its own (OCI runtime specification 1.0)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root = folder / "root"
        names = ["bin", "lib", "lib64", "usr"]
        for name in [*names, "proc", "dev", "tmp"]:
            (root / name).mkdir(parents=True)
        options = ["bind", "ro"]
        mounts = [
            {"destination": f"/{name}", "source": f"/{name}", "type": "bind", "options": options}
            for name in names
            if Path(f"/{name}").exists()
        ]
        mounts += [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
        ]
        config = {
            "ociVersion": "1.0.0",
            "process": {
                "user": {"uid": 65534, "gid": 65534},
                "args": ["/bin/true"],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": True,
            },
            "root": {"path": "root", "readonly": True},
            "mounts": mounts,
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
                "resources": {"pids": {"limit": 64}, "memory": {"limit": 128 << 20}},
            },
        }
        (folder / "config.json").write_text(json.dumps(config))

        self.helper: subprocess.Popen[str] | None = None

    def timed(self) -> float:
        """Seconds of `crun run`; OSError if it is not installed or does not work here."""
        if self.helper is None:
            code = HELPER.format(command=["crun", "--cgroup-manager=cgroupfs", "run", "--bundle", str(self.folder)])
            self.helper = subprocess.Popen(
                ["unshare", "--mount", sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        assert self.helper.stdin is not None and self.helper.stdout is not None
        self.helper.stdin.write(CONTAINER + "\n")
        answer = self.helper.stdout.readline().strip()
        try:
            return float(answer)
        except ValueError:
            raise OSError(answer or "its helper has ended") from None

    def end(self) -> None:
        """Nothing of it stays, also if it was interrupted."""
        if self.helper is not None:
            assert self.helper.stdin is not None and self.helper.stdout is not None
            self.helper.stdin.close()
            self.helper.wait(10)
            self.helper.stdout.close()
        if shutil.which("crun"):
            subprocess.run(["crun", "delete", "--force", CONTAINER], capture_output=True)
