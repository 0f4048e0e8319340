"""`serpentry plan` for an application of a running host: what its requests need, and what it says without any."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import Starter, TestHost


def plan(host: TestHost, *arguments: str) -> subprocess.CompletedProcess[str]:
    return host.run("plan", *arguments)


def test_a_plan_from_measured_requests(start: Starter, tmp_path: Path) -> None:
    host = start({"shop": {"app": "costs:app", "concurrency": "threads", "threads": 4, "workers": 1, "routes": ["/"]}})
    nothing = plan(host, "shop", "--rps", "50")
    assert nothing.returncode == 1 and "had 0 requests" in nothing.stderr and "serpentry load" in nothing.stderr
    unknown = plan(host, "nobody", "--rps", "50")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(host.fetch, ["/sleep/20"] * 36 + ["/burn/10/0"] * 4))
    profile = tmp_path / "profile.json"
    answer = plan(host, "shop", "--rps", "50", "--observe", "100ms", "--json", "--save-profile", str(profile))
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    # 36 x 20 ms of waiting and 4 x 10 ms of computing, of 40. On a busy machine waiting is longer.
    assert 0.9 < found["request"]["cpu_ms"] < 8 and 18 <= found["request"]["wait_ms"] < 60, found["request"]
    assert found["trust"] is None and "too little traffic" in found["why_not_compared"]
    assert {proposal["concurrency"] for proposal in found["proposals"]} == {"sync", "threads"}, "it is WSGI"
    kept = json.loads(profile.read_text())
    samples = {kind["name"]: len(kind["samples"]) for kind in kept["classes"]}
    assert samples == {"GET /sleep/{}": 36, "GET /burn/{}/{}": 4}
    again = plan(host, "--profile", str(profile), "--rps", "50", "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["request"] == found["request"]
