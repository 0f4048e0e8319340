"""What the host tells: status as a contract, the table, metrics, logs of applications."""

from __future__ import annotations

import http.client
import json
import re
import socket
import stat
import subprocess
import time

import prometheus
import pytest
from conftest import Starter, TestHost
from servers import wait_until

NUMBER = (int, float)
MAYBE = (int, float, type(None))
APP_KEYS = {
    "name": str,
    "tenancy": str,
    "concurrency": str,
    "state": str,
    "generation": int,
    "workers": list,
    "queue": dict,
    "requests": dict,
    "latency_ms": dict,
    "limits": dict,
    "cpu": dict,
    "pressure": dict,
}


class ControlConnection(http.client.HTTPConnection):
    """HTTP to the control socket."""

    def __init__(self, host: TestHost) -> None:
        super().__init__("localhost", timeout=30)
        self.path = str(host.state / "control.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def get(host: TestHost, path: str) -> tuple[int, str, str]:
    """Status, content type and text of a GET on the control socket."""
    connection = ControlConnection(host)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], text


@pytest.fixture
def host(start: Starter) -> TestHost:
    apps = {
        "sync": {"routes": ["/sync"], "limits": {"memory": "512MiB", "queue": 7}},
        "threads": {"routes": ["/threads"], "concurrency": "threads", "threads": 3},
        "async": {"app": "plain:asgi", "routes": ["/async"]},
        "sleeper": {"routes": ["/sleeper"], "workers": {"min": 0, "max": 1, "idle": "1m"}},
    }
    return start(apps)


def test_status_json_is_the_contract(host: TestHost) -> None:
    for _ in range(5):
        host.facts("/sync/slow?seconds=0.01")
    apps = {app["name"]: app for app in host.status()["apps"]}
    assert list(apps) == ["sync", "threads", "async", "sleeper"], "in the order of the file"
    for app in apps.values():
        for key, kind in APP_KEYS.items():
            assert isinstance(app[key], kind), (app["name"], key, app[key])
        assert set(app["queue"]) >= {"depth", "limit"}
        assert set(app["requests"]) >= {"total", "failed", "replayed"}
        assert set(app["latency_ms"]) >= {"p50", "p95", "p99"}
        assert set(app["limits"]) >= {"memory_bytes", "cpu_cores"}
        assert "throttled_ms" in app["cpu"]
        for worker in app["workers"]:
            assert isinstance(worker["pid"], int) and isinstance(worker["state"], str)
            assert isinstance(worker["requests"], int)
            assert isinstance(worker["memory_bytes"], MAYBE) and isinstance(worker["cpu_seconds"], MAYBE)
            assert 1 < worker["boot_ms"] < 30_000, "an interpreter was started"
    sync, sleeper = apps["sync"], apps["sleeper"]
    assert (sync["state"], sync["tenancy"], sync["concurrency"]) == ("serving", "shared", "sync")
    assert apps["threads"]["concurrency"] == "threads" and apps["async"]["concurrency"] == "async"
    assert sync["requests"] == {"total": 5, "failed": 0, "replayed": 0}
    assert sync["workers"][0]["requests"] == 5 and sync["workers"][0]["memory_bytes"] > 1 << 20
    assert 10 <= sync["latency_ms"]["p50"] <= sync["latency_ms"]["p95"] <= sync["latency_ms"]["p99"]
    assert (sync["queue"]["limit"], sync["limits"]["memory_bytes"]) == (7, 512 << 20)
    assert (sleeper["state"], sleeper["workers"], sleeper["latency_ms"]["p50"]) == ("asleep", [], None)


def test_status_of_the_host(host: TestHost) -> None:
    told = host.status()["host"]
    assert told["pid"] == host.pid and told["state"] == "serving"
    assert isinstance(told["uptime_seconds"], NUMBER) and told["uptime_seconds"] > 0
    assert host.address[1] in [int(it.rsplit(":", 1)[-1]) for it in told["listeners"]]


def test_status_as_a_table(host: TestHost) -> None:
    table = host.do("status")
    for name in ("sync", "threads", "async", "sleeper", "asleep", "serving"):
        assert name in table
    assert "\x1b" not in table, "no colours when it is not a terminal"
    one = host.do("status", "sync")
    assert "sync" in one and "sleeper" not in one
    unknown = host.run("status", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr


def test_the_control_socket_is_private(host: TestHost) -> None:
    mode = (host.state / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_metrics(host: TestHost) -> None:
    for _ in range(3):
        host.facts("/sync/x")
    assert host.fetch("/sync/fail").status == 500
    assert host.fetch("/nowhere").status == 404
    status, content_type, text = get(host, "/metrics")
    assert status == 200 and content_type.startswith("text/plain; version=0.0.4")
    families = prometheus.parse(text)
    requests = families["serpentry_app_requests_total"]
    assert requests.value(app="sync", status="200") == 3
    assert requests.value(app="sync", status="500") == 1
    assert families["serpentry_unrouted_requests_total"].value(status="404") == 1
    assert families["serpentry_app_workers"].value(app="sync", state="serving") == 1
    assert families["serpentry_app_workers"].value(app="sleeper") == 0
    phases = families["serpentry_app_phase_seconds"]
    for phase, count in (("queued", 4), ("service", 3), ("total", 4)):
        # The one that failed had no last byte of the application's.
        assert phases.value("_count", app="sync", phase=phase) == count
    assert phases.value("_sum", app="sync", phase="total") >= phases.value("_sum", app="sync", phase="service")
    gauges = [name for name, family in families.items() if "memory_bytes" in name and family.samples]
    assert gauges, "memory is there"


def test_openapi_document(host: TestHost) -> None:
    status, _, text = get(host, "/openapi.json")
    document = json.loads(text)
    assert status == 200 and document["openapi"].startswith("3.")
    assert "/v1/status" in document["paths"] and "/v1/reload" in document["paths"]


def test_logs(host: TestHost) -> None:
    """What an application prints is shown, by application, as text and as JSON, also when the host is down."""
    host.facts("/sync/print?text=hello-from-sync&lines=3")
    host.facts("/async/print?text=hello-from-async")

    def shown(*arguments: str) -> str:
        return host.do("logs", *arguments)

    host.wait(lambda: "hello-from-sync 2" in shown("sync"), "the lines are in the log", every=0.1)
    host.wait(lambda: "hello-from-async" in shown("async"), "the lines are in the log", every=0.1)
    assert "hello-from-async" not in shown("sync")
    assert "hello-from-sync" in shown() and "hello-from-async" in shown()
    assert shown("-n", "1", "sync").count("\n") == 1
    records = [json.loads(line) for line in shown("--json", "sync").splitlines()]
    record = next(record for record in records if record["text"] == "hello-from-sync 1")
    assert record["app"] == "sync" and record["stream"] == "out"
    assert record["pid"] in host.serving_pids("sync")
    unknown = host.run("logs", "nobody")
    assert unknown.returncode != 0 and "sync" in unknown.stderr, "it names those that there are"
    host.stop()
    assert "hello-from-sync 2" in shown("sync")


def test_logs_follow(host: TestHost) -> None:
    with subprocess.Popen(
        [str(host.program), "logs", "-f", "sync", "--state", str(host.state)],
        stdout=subprocess.PIPE,
        text=True,
        env=host.environment,
    ) as follower:
        try:
            assert follower.stdout is not None
            host.facts("/sync/print?text=while-following")
            for line in follower.stdout:
                if "while-following 0" in line:
                    break
            follower.send_signal(2)
            assert follower.wait(10) == 0
        finally:
            follower.kill()


def test_tracebacks_of_requests_are_in_the_log(host: TestHost) -> None:
    assert host.fetch("/sync/fail").status == 500
    host.wait(lambda: "failed on purpose" in host.do("logs", "sync"), "the traceback is in the log", every=0.1)
    assert "Traceback" in host.do("logs", "sync")


def test_an_application_cannot_forge_lines(host: TestHost) -> None:
    host.facts("/sync/print?text=before%0D%1B%5B31mred%00after")
    host.wait(lambda: "after 0" in host.do("logs", "sync"), "the line is in the log", every=0.1)
    text = host.do("logs", "sync")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), "control characters are escaped"


def test_a_flood_does_not_hold_up_the_application(host: TestHost) -> None:
    """Lines may be dropped, and are counted then; the answer comes, and the newest lines are there at the end."""
    lines = 100_000
    began = time.monotonic()
    assert host.fetch(f"/sync/print?text=flood&lines={lines}", timeout=60).status == 200
    assert time.monotonic() - began < 30
    host.facts("/sync/print?text=after-the-flood")
    wait_until(lambda: "after-the-flood" in host.do("logs", "-n", "5", "sync"), 30, "the last line", every=0.2)
    kept = sum(
        path.read_text(errors="replace").count("| flood ") for path in (host.state / "logs").glob("sync.log*")
    )
    assert kept + host.app("sync")["dropped_log_lines"] == lines
