"""What requests take, by route: `status APP --routes`, `Server-Timing`, and what is found in the figures (C20, C22).

The machine may be busy, so what computes takes at least its time, and what waits at least its own.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Starter, TestHost
from test_status import get

MODELS = {
    "sync": {"app": "costs:app", "concurrency": "sync"},
    "threads": {"app": "costs:app", "concurrency": "threads", "threads": 4},
    "async": {"app": "costs:asgi", "concurrency": "async"},
}


def routes(host: TestHost, app: str = "shop") -> dict[str, dict[str, Any]]:
    found = json.loads(host.do("status", app, "--routes", "--json"))
    assert found["app"] == app
    return {f"{route['method']} {route['route']}": route for route in found["routes"]}


def timing(host: TestHost, path: str) -> dict[str, float]:
    """Our `Server-Timing` field of an answer."""
    response = host.fetch(path)
    assert response.status == 200
    fields = [value for name, value in response.headers if name.lower() == "server-timing"]
    assert "db;dur=1" in fields, "the application's own stays"
    ours = [field for field in fields if "cpu;" in field]
    assert len(ours) == 1, fields
    return {name: float(value) for name, value in (part.strip().split(";dur=") for part in ours[0].split(","))}


def why(host: TestHost, code: str) -> list[dict[str, Any]]:
    return [incident for incident in json.loads(host.do("why", "--json")) if incident["code"] == code]


@pytest.mark.parametrize("model", MODELS)
def test_figures_of_routes(start: Starter, model: str) -> None:
    host = start({"shop": {**MODELS[model], "workers": 1, "routes": ["/"], "server_timing": True}})
    for number in range(6):
        said = timing(host, f"/burn/30/{number}")
        assert said["cpu"] >= 29 and said["wait"] >= 0, said
        said = timing(host, "/sleep/40")
        assert said["cpu"] < 15 and said["wait"] >= 38, said
    assert ("gil" in said) == (model != "async"), said
    found = host.wait(lambda: routes(host).get("GET /sleep/{}", {}).get("requests") == 6 and routes(host), "all counted")
    burning, sleeping = found["GET /burn/{}/{}"], found["GET /sleep/{}"]
    assert (burning["requests"], burning["failed"]) == (6, 0)
    assert burning["cpu_ms"] >= 29 and burning["cpu_ms_p95"] >= 28
    assert burning["classification"] == "cpu" and sleeping["classification"] == "wait"
    assert sleeping["cpu_ms"] < 15 and sleeping["wait_ms"] >= 38 and sleeping["latency_ms"]["p50"] >= 37
    assert list(found)[0] == "GET /burn/{}/{}", "those first that took most CPU time"
    table = host.do("status", "shop", "--routes")
    assert table.splitlines()[0].split()[:4] == ["METHOD", "ROUTE", "REQUESTS", "FAILED"]
    assert "/burn/{}/{}" in table


def test_nothing_is_told_unless_it_is_asked_for(start: Starter) -> None:
    host = start({"shop": {**MODELS["sync"], "workers": 1, "routes": ["/"]}, "idle": {"workers": {"min": 0, "max": 1},
                                                                                      "routes": ["idle.example"]}})
    response = host.fetch("/sleep/1")
    assert [value for name, value in response.headers if name.lower() == "server-timing"] == ["db;dur=1"]
    host.reload(shop={"server_timing": True})
    assert "cpu" in timing(host, "/sleep/1"), "without a new worker"
    assert host.app("shop")["generation"] == 1
    assert routes(host, "idle") == {}
    assert "was not asked" in host.do("status", "idle", "--routes")
    assert get(host, "/v1/apps/nobody/routes")[0] == 404


def test_routes_are_bounded(start: Starter) -> None:
    host = start({"shop": {**MODELS["sync"], "workers": 1, "routes": ["/"]}})
    for number in range(150):
        host.fetch(f"/missing/x{number}.php")
    for number in range(10):
        host.fetch(f"/page{number}")
    found = host.wait(lambda: sum(route["requests"] for route in routes(host).values()) == 160 and routes(host), "160")
    assert len(found) <= 64
    assert {f"GET /page{number}" for number in range(10)} <= set(found), "what exists is not pushed out"


def test_cpu_heavy_requests_are_found(start: Starter) -> None:
    host = start({"shop": {**MODELS["sync"], "workers": 1, "routes": ["/"]}})
    host.fetch("/burn/900")
    for _ in range(20):
        host.fetch("/sleep/20")
    assert why(host, "C20") == []
    for number in range(9):
        host.fetch(f"/burn/250/{number}")
    [found] = host.wait(lambda: why(host, "C20"), "the incident")
    assert found["app"] == "shop" and found["evidence"]["route"] == "GET /burn/{}/{}"
    assert 240 <= found["evidence"]["cpu_ms"] <= 320
    assert found["requests"] and found["requests"][0]["path"].startswith("/burn/250/")
    assert "GET /burn/{}/{}" in found["sentence"] and "of CPU each" in found["sentence"]


def test_who_held_the_interpreter_lock_is_found(start: Starter) -> None:
    """Beside it an application whose threads sleep: of that nothing is said."""
    threads = {**MODELS["threads"], "workers": 1}
    host = start({"shop": {**threads, "routes": ["/"]}, "calm": {**threads, "routes": ["calm.example"]}})
    with ThreadPoolExecutor(4) as pool:
        calm = [pool.submit(host.fetch, "/sleep/50", "calm.example") for _ in range(20)]
        assert all(answer.result().status == 200 for answer in calm)
        hog = pool.submit(host.fetch, "/burn/1500")
        while not hog.done():
            host.fetch("/light")
        assert hog.result().status == 200
    [found] = host.wait(lambda: why(host, "C22"), "the incident")
    assert found["app"] == "shop" and found["evidence"]["route"] == "GET /burn/{}"
    assert found["evidence"]["delayed"] >= 3 and found["evidence"]["held_ms"] >= 1490
    assert found["worker_pid"] in host.serving_pids("shop")
    assert "interpreter lock" in found["sentence"]
    assert routes(host)["GET /light"]["gil_ms"] >= 1
