"""`serpentry plan` for an application of a running host: what its requests need, and what it says without any."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Starter, TestHost


pytestmark = pytest.mark.alone


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
    booted = max(worker["boot_ms"] for worker in host.app("shop")["workers"])
    assert kept["cold_start_ms"] == pytest.approx(booted)
    assert not any("cold start" in text for text in found["assumed"])
    samples = {kind["name"]: len(kind["samples"]) for kind in kept["classes"]}
    assert samples == {"GET /sleep/{}": 36, "GET /burn/{}/{}": 4}
    again = plan(host, "--profile", str(profile), "--rps", "50", "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["request"] == found["request"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have control groups for the laboratory")
def test_a_plan_for_an_application_that_is_not_hosted(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    program = request.config.getoption("--serpentry")
    (tmp_path / "shop.py").write_text(
        "import time\n\n\ndef app(environ, start_response):\n"
        "    time.sleep(0.02)\n    start_response('200 OK', [])\n    return [b'good']\n"
    )
    command = [program, "plan", "shop:app", "--chdir", str(tmp_path), "--url", "/", "--url", "/gone/away", "--rps", "50", "--json"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["request"]["cpu_ms"] < 8 and 18 <= found["request"]["wait_ms"] < 60, found["request"]
    assert "a visit to 2 of its pages" in found["source"], found["source"]
    assert not any("cold start" in text for text in found["assumed"]), "it was measured"
    assert any("through the host" in text for text in found["assumed"])
    refused = subprocess.run([program, "plan", "no_such:app", "--chdir", str(tmp_path), "--rps", "5"], capture_output=True, text=True)
    assert refused.returncode == 1 and "does not start" in refused.stderr and "no_such" in refused.stderr, refused.stderr
