"""A host of one application on a port that the kernel chooses, and open-loop load on it by `serpentry load`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 60


class Host:
    """`serpentry host` of a file with `app` (lines of TOML, from `[apps.NAME]` on); its state is beside the file."""

    def __init__(self, program: Path, directory: Path, app: list[str]):
        self.program, self.directory = program, directory
        lines = ["[host]", 'listen = ["127.0.0.1:0"]', 'state = "state"', *app]
        (directory / "serpentry.toml").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> "Host":
        self.words = open(self.directory / "words", "wb")
        command = [self.program, "host", "serpentry.toml"]
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=self.words, stderr=self.words)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            status = self.status()
            if status and all(app["state"] == "serving" for app in status["apps"]):
                self.url = status["host"]["listeners"][0]
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.__exit__()
        sys.exit("the host does not serve:\n" + (self.directory / "words").read_text(errors="replace"))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.words.close()

    def status(self) -> dict | None:
        command = [self.program, "status", "--json", "--state", self.directory / "state"]
        found = subprocess.run(command, capture_output=True)
        return json.loads(found.stdout) if found.returncode == 0 else None

    def load(self, paths: list[str], rate: float, seconds: float, seed: int, warm_up: float = 3) -> dict:
        """What `serpentry load` measured: Poisson arrivals, latency from the planned time."""
        command = [self.program, "load", *(self.url + path for path in paths), "--rate", str(rate)]
        command += ["--duration", f"{seconds + warm_up:g}s", "--warm-up", f"{warm_up:g}s", "--seed", str(seed), "--json"]
        # What is measured is not to be the generator's own waiting for a core.
        command += ["--realtime"] if os.geteuid() == 0 else []
        found = subprocess.run(command, capture_output=True, text=True)
        if not found.stdout:
            sys.exit(f"load failed: {found.stderr}")
        if found.returncode != 0:
            print(f"  load says: {found.stderr.strip()}", file=sys.stderr)
        return json.loads(found.stdout)
