"""A stage: one host with an attacker, a victim and a polite neighbour, and someone who watches all the time.

`model` says how the attacker is constrained: "isolated" and "shared" by the limits of the case, "unlimited" not at
all (shared, no limits, inside a cage): what `--prove` runs. The victim is isolated when the attacker is. The
neighbour is always shared: the least protected application there can be.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import toml_text  # noqa: E402
from hosting import Host, HostError  # noqa: E402

APPS = HERE / "apps"
WATCH_EVERY = 0.05
# Generous: it says that a neighbour is served, not how fast (bench/tenancy.py says that).
NEIGHBOUR_SECONDS = 5.0
CONTROL_SECONDS = 5.0
# Without limits, but still with an end.
SMALL = {"cpu": 0.25, "memory": "128MiB", "disk_space": "64MiB"}
UNLIMITED = {"processes": 4096, "open_files": 65536}


class Unserved(Exception):
    """The host ended, or does not answer for itself."""


class Stage:
    """A running host; `attack` makes the attacker attack."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        model: str,
        limits: dict[str, Any],
        allowed: dict[str, Any],
        settings: dict[str, Any],
        victim: dict[str, Any],
        python: str,
        before: tuple[str, ...] = (),
    ) -> None:
        self.model, self.limits, self.folder = model, limits, folder
        self.secret = secrets.token_hex(16)
        folder.mkdir(parents=True)
        self.file, self.state = folder / "serpentry.toml", folder / "state"
        common = {"directory": str(APPS), "python": python}
        isolated = model == "isolated"
        tenancy = "isolated" if isolated else "shared"
        own = allowed | (limits if model != "unlimited" else UNLIMITED)
        if isolated:
            # What a case does not limit must not stand in its way, nor ask for more than a small machine has.
            own = {"cpu": 0.5, "memory": "256MiB", "disk_space": "256MiB", "egress": "none"} | own
        self.apps: dict[str, dict[str, Any]] = {
            "attacker": {
                **common,
                "app": "attacker:app",
                "routes": ["/attacker"],
                "tenancy": tenancy,
                **settings,
                "env": self._variables("attacker", folder),
                "limits": own,
            },
            "victim": {
                **common,
                "app": "attacker:app",
                "routes": ["/victim"],
                "tenancy": tenancy,
                "env": {**self._variables("victim", folder), "SECRET": self.secret},
                "limits": SMALL | victim if isolated else victim if model == "shared" else {},
            },
            "neighbour": {
                **common,
                "app": "polite:app",
                "routes": ["/neighbour"],
                "env": {**self._variables("neighbour", folder), "SECRET": self.secret},
            },
        }
        host = {"listen": ["127.0.0.1:0"], "state": str(self.state)}
        self.file.write_text(toml_text.document(host, self.apps))
        # What an administrator does with a file that has secrets in it.
        self.file.chmod(0o600)
        environment = {"PYTHONDONTWRITEBYTECODE": "1"}
        self.host = Host(program, self.file, self.state, environment=environment, before=before)
        try:
            self.host.wait_until_ready(60)
            wrong = {app["name"]: app["state"] for app in self.host.status()["apps"] if app["state"] != "serving"}
            if wrong:
                raise self.host.error(f"not serving after the start: {wrong}")
            # Where clients connect. Looked up once: it is read from all that the host has printed.
            address = self.host.address
            assert isinstance(address, tuple)
            self.address: tuple[str, int] = address
        except BaseException:
            self.host.kill()
            raise

    def _variables(self, name: str, folder: Path) -> dict[str, str]:
        variables = {"NAME": name, "PYTHONDONTWRITEBYTECODE": "1"}
        if self.model == "unlimited":
            # Until the host gives every application a directory; a constrained one must get its own from the host.
            data = folder / f"data-{name}"
            data.mkdir(exist_ok=True)
            variables["TENANCY_DATA"] = str(data)
        return variables

    def worker(self, app: str = "attacker") -> int:
        """The pid of the application's first serving worker; waits for one."""
        found = self.host.wait(lambda: self.host.serving_pids(app), f"a serving worker of {app}", 30, every=0.05)
        assert isinstance(found, list)
        return int(found[0])

    def request(
        self, target: str, method: str = "GET", timeout: float = 60.0, body: bytes | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and header fields (lower case) of one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        try:
            connection.request(method, target, body=body)
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def attack(self, attack: str, /, app: str = "attacker", timeout: float = 60.0, **arguments: Any) -> dict[str, Any]:
        """One attempt (a POST, so it is never run twice): its answer, with the HTTP status."""
        from urllib.parse import urlencode

        status, body, headers = self.request(f"/{app}/attack/{attack}?{urlencode(arguments)}", "POST", timeout)
        if status != 200:
            incident = headers.get("serpentry-incident", "")
            return {"status": status, "got": False, "incident": incident, "body": body[:500].decode(errors="replace")}
        answer = json.loads(body)
        assert isinstance(answer, dict)
        return {"status": 200, **answer}

    def probe(self, name: str) -> dict[str, Any]:
        """One of the doors into the kernel."""
        return self.attack("probe", name=name)

    def serves_again(self, app: str = "attacker", seconds: float = 20.0) -> bool:
        """The application answers within that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.request(f"/{app}/who", timeout=5)[0] == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def control(self, path: str) -> int:
        """Status of a GET on the control socket."""
        connection = http.client.HTTPConnection("localhost", timeout=CONTROL_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(CONTROL_SECONDS)
            connection.sock.connect(str(self.state / "control.sock"))
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def end(self) -> None:
        """Stop it in the ordinary way; kill it if that does not work, and say so."""
        try:
            self.host.stop(40)
        finally:
            self.host.kill()


class Watch:
    """While it lasts, the neighbour is asked every 50 ms and the control socket now and then; nothing may fail."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._neighbour, WATCH_EVERY)),
            threading.Thread(target=self._repeat, args=(self._control, 0.2)),
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        try:
            done = self.stage.host.run("status", "--json", seconds=20)
            if done.returncode != 0:
                self.failures.append(f"`serpentry status` ended with {done.returncode}: {done.stderr.strip()}")
        except (HostError, OSError, ValueError) as error:
            self.failures.append(f"`serpentry status`: {error}")

    def _repeat(self, ask: Any, every: float) -> None:
        while True:
            started = time.monotonic()
            try:
                ask()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{ask.__name__}: {type(error).__name__} {error}")
            if self._stop.wait(max(0.0, started + every - time.monotonic())):
                return

    def _neighbour(self) -> None:
        started = time.monotonic()
        status, body, _ = self.stage.request("/neighbour/", timeout=NEIGHBOUR_SECONDS)
        took = time.monotonic() - started
        self.seconds.append(took)
        if took > NEIGHBOUR_SECONDS:
            self.failures.append(f"the neighbour took {took:.1f} s")
        if status != 200 or json.loads(body)["name"] != "neighbour":
            self.failures.append(f"the neighbour answered {status}: {body[:200]!r}")

    def _control(self) -> None:
        status = self.stage.control("/metrics")
        if status != 200:
            self.failures.append(f"/metrics answered {status}")

    def summary(self) -> str:
        """Worst and median time of the neighbour."""
        ordered = sorted(self.seconds)
        if not ordered:
            return "the neighbour was not asked"
        return (
            f"neighbour: {len(ordered)} requests, median {ordered[len(ordered) // 2] * 1000:.1f} ms, "
            f"longest {ordered[-1] * 1000:.0f} ms"
        )
