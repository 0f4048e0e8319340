"""`kill -9` of the host at any moment: its workers die at once, the next start serves, nothing stays on the machine.

Each round: a host of an isolated and a shared application; something is begun (start, restart, move, memory kill,
stop) and the host is killed somewhere in the middle. Then a host is started on the same file and state directory, must
serve, is stopped in the ordinary way, and the machine must be as it was before. Moments are random (seeded). With
`strace` on the machine the start is also killed step by step: at the first, second, third... system call of each kind
that leaves something on a machine, until there are no more of it.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import toml_text
from hosting import Host, HostError, is_running
from leftovers import Snapshot
from stage import APPS

GONE_SECONDS = 2.0
# System calls of the host that leave something behind; one that the program never makes is one short round.
STEP_CALLS = ("mkdir", "mkdirat", "mount", "move_mount", "clone3", "vfork", "clone", "ioctl", "unshare")
STEPS_AT_MOST = 40
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Round:
    """One killed host."""

    title: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Killer:
    """Starts hosts and kills them; yields a round after each."""

    def __init__(
        self, program: Path, folder: Path, python: str, prefix: tuple[str, ...], *, alone: bool, seed: int = 1
    ) -> None:
        self.program, self.folder, self.alone = program, folder, alone
        self.random, self.prefix = random.Random(seed), prefix
        folder.mkdir(parents=True)
        self.file, self.state = folder / "serpentry.toml", folder / "state"
        common = {"app": "attacker:app", "directory": str(APPS), "python": python}
        small = {"cpu": 0.5, "memory": "96MiB", "disk_space": "32MiB"}
        self.apps: dict[str, dict[str, Any]] = {
            "boxed": {**common, "routes": ["/boxed"], "tenancy": "isolated", "limits": dict(small)},
            "open": {**common, "routes": ["/open"], "workers": 2},
        }
        self.settings = {"listen": ["127.0.0.1:0"], "state": str(self.state)}
        self.file.write_text(toml_text.document(self.settings, self.apps))

    def start(self, before: tuple[str, ...] = ()) -> Host:
        return Host(self.program, self.file, self.state, environment=ENVIRONMENT, before=(*before, *self.prefix))

    # ---- at random moments ----

    def at_random(self, rounds: int) -> Iterator[Round]:
        """So many rounds, each kind of moment in turn."""
        kinds: list[tuple[str, Callable[[Host], None] | None, float]] = [
            ("during the start", None, 0.8),
            ("during a restart", lambda host: self._run(host, "restart", "boxed"), 0.6),
            ("during a move to shared", lambda host: self._run(host, "move", "boxed", "shared"), 0.6),
            ("during a move to isolated", lambda host: self._run(host, "move", "open", "isolated"), 0.8),
            ("after a kill for memory", lambda host: self._hog(host), 0.5),
            ("during the stop", lambda host: host.child.send_signal(signal.SIGTERM), 0.3),
        ]
        for number in range(rounds):
            title, begin, longest = kinds[number % len(kinds)]
            delay = self.random.uniform(0, longest)
            yield self._round(f"{title}, {delay * 1000:.0f} ms in", begin, delay)

    def _round(self, title: str, begin: Callable[[Host], None] | None, delay: float) -> Round:
        found = Round(title)
        before = Snapshot.take()
        host = self.start()
        try:
            if begin is not None:
                host.wait_until_ready(60)
                thread = threading.Thread(target=begin, args=(host,))
                thread.start()
                time.sleep(delay)
                self._kill(host, found)
                thread.join()
            else:
                time.sleep(delay)
                self._kill(host, found)
            self._start_again(found, before)
        except HostError as error:
            found.problems.append(str(error))
        finally:
            host.kill()
        return found

    def _run(self, host: Host, *arguments: str) -> None:
        """A command whose host is killed under it: how it ends is its own affair."""
        try:
            host.run(*arguments, seconds=30)
        except (HostError, subprocess.TimeoutExpired):
            pass

    def _hog(self, host: Host) -> None:
        import http.client

        address = host.address
        assert isinstance(address, tuple)
        connection = http.client.HTTPConnection(*address, timeout=10)
        try:
            connection.request("POST", "/boxed/attack/memory-anonymous?mib=200")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()

    # ---- step by step ----

    def step_by_step(self) -> Iterator[Round]:
        """The start, killed at each step of each kind; nothing without strace."""
        if shutil.which("strace") is None:
            yield Round("step by step: skipped: strace is not installed")
            return
        for call in STEP_CALLS:
            for number in range(1, STEPS_AT_MOST + 1):
                found, reached = self._step(call, number)
                if not reached:
                    break
                yield found

    def _step(self, call: str, number: int) -> tuple[Round, bool]:
        """The start with SIGKILL at the numbered call of the main thread; False if it was never made."""
        found = Round(f"at {call} number {number} of the start")
        before = Snapshot.take()
        trace = ("strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
        host = self.start(trace)
        try:
            host.wait_until_ready(60)
        except HostError:
            if host.child.poll() is None:
                found.problems.append("neither ready nor ended")
            host.kill()
            self._start_again(found, before)
            return found, True
        # strace would be left alone with the signal; the host is its only child.
        host.kill()
        self._start_again(found, before)
        return found, False

    # ---- what must be so afterwards ----

    def _kill(self, host: Host, found: Round) -> None:
        """SIGKILL; its processes must be gone at once."""
        workers = host.processes()
        host.child.kill()
        host.child.wait()
        started = time.monotonic()
        while any(is_running(pid) for pid in workers | host.processes()):
            if time.monotonic() - started > GONE_SECONDS:
                left = sorted(host.processes())
                found.problems.append(f"after {GONE_SECONDS:.0f} s these processes still run: {left}")
                return
            time.sleep(0.005)

    def _start_again(self, found: Round, before: Snapshot) -> None:
        left = before.left_behind(self.folder, alone=self.alone, seconds=0)
        if left:
            found.notes.append(f"until the next start: {len(left)} things ({left[0]}{', ...' if left[1:] else ''})")
        host = self.start()
        try:
            host.wait_until_ready(60)
            states = {app["name"]: app["state"] for app in host.status()["apps"]}
            if set(states.values()) != {"serving"}:
                found.problems.append(f"the next start: {states}")
            host.stop(40)
        except HostError as error:
            found.problems.append(f"the next start: {error}")
        finally:
            host.kill()
        found.problems += [f"left behind: {thing}" for thing in before.left_behind(self.folder, alone=self.alone)]
