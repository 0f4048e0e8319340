"""One bad application of ten never touches the others: broken at import, crashing, hanging."""

from __future__ import annotations

import pytest
from conftest import Starter, TestHost
from load import Load, wait_for_progress
from servers import wait_until

GOOD = 9


def nine_and(start: Starter, bad: dict[str, object], wait: str = "ready") -> TestHost:
    apps = {f"good{number}": {"routes": [f"/good{number}"]} for number in range(GOOD)}
    return start({**apps, "bad": {"app": "bad:app", "routes": ["/bad"], **bad}}, wait=wait)


def check_the_good_ones(host: TestHost) -> None:
    for number in range(GOOD):
        assert host.facts(f"/good{number}")["app"] == f"good{number}"


def test_broken_at_import(start: Starter) -> None:
    """The others serve; status says backing off, when the next attempt is, and why."""
    host = nine_and(start, {"env": {"HOW": "import"}})
    with Load(host.address, "/good0/x", clients=2) as load:
        status = host.wait_for_state("bad", "backing off", 60)
        assert status["next_attempt_seconds"] >= 0
        assert "broken on purpose" in str(status["last_error"])
        check_the_good_ones(host)
        # Through several attempts.
        host.wait(lambda: host.output().count("broken on purpose") >= 3, "three attempts", 60)
        wait_for_progress(load, wait_until)
    assert load.failures == []
    table = host.do("status")
    assert "backing off" in table and "bad" in table
    host.stop()


def test_fixed_while_it_backs_off(start: Starter) -> None:
    """`restart` tries at once, whatever the pause is."""
    apps = {"bad": {"app": "bad:app", "routes": ["/bad"], "env": {"HOW": "fixed"}}}
    host = start(apps, wait="no")
    (host.folder / "broken").touch()
    host.wait_until_ready()
    host.wait_for_state("bad", "backing off", 60)
    host.wait(lambda: host.output().count("broken on purpose") >= 2, "two attempts", 60)
    (host.folder / "broken").unlink()
    host.do("restart", "bad")
    assert host.facts("/bad")["app"] == "bad"
    assert host.app("bad")["state"] == "serving"


def test_crashing_every_second(start: Starter) -> None:
    host = nine_and(start, {"env": {"HOW": "crash"}})
    with Load(host.address, "/good0/x", clients=2) as load:
        host.wait_for_app("bad", lambda app: app["respawns"] >= 2, "two workers were replaced", 60)
        host.wait_for_state("bad", "backing off", 60)
        check_the_good_ones(host)
        wait_for_progress(load, wait_until)
    assert load.failures == []
    host.stop()


def test_hanging_at_import(start: Starter) -> None:
    """It neither holds up the others nor the host's start, and is given up after start_timeout."""
    host = nine_and(start, {"env": {"HOW": "hang"}, "start_timeout": "3s"}, wait="listening")
    for number in range(GOOD):
        host.wait_for_state(f"good{number}", "serving", 60)
    assert host.app("bad")["state"] in ("starting", "backing off")
    check_the_good_ones(host)
    host.wait_for_state("bad", "backing off", 60)
    check_the_good_ones(host)
    host.stop()


def test_hanging_at_import_does_not_hold_up_the_end(start: Starter) -> None:
    host = nine_and(start, {"env": {"HOW": "hang"}, "start_timeout": "10m"}, wait="listening")
    host.wait_for_state("good0", "serving", 60)
    assert host.stop() < 20


@pytest.mark.parametrize("how", ["import", "crash"])
def test_a_bad_sleeper(start: Starter, how: str) -> None:
    """min = 0: requests for it fail in time and with a reason; the other application serves."""
    bad = {
        "app": "bad:app",
        "routes": ["/bad"],
        "env": {"HOW": how},
        "workers": {"min": 0, "max": 1, "idle": "2s"},
        "start_timeout": "5s",
    }
    host = start({"good": {"routes": ["/good"]}, "bad": bad})
    assert host.app("bad")["state"] == "asleep"
    response = host.fetch("/bad/x", timeout=60)
    assert response.status == (200 if how == "crash" else 503), response.body
    if how == "import":
        assert response.get("retry-after") is not None
        assert "broken on purpose" in str(host.app("bad")["last_error"])
    assert host.facts("/good")["app"] == "good"


def test_a_broken_application_in_the_first_file(start: Starter) -> None:
    """The host starts, serves the good one, and a reload repairs the other."""
    host = start({"good": {"routes": ["/good"]}, "bad": {"app": "nothing:app", "routes": ["/bad"]}})
    assert host.facts("/good")["app"] == "good"
    host.reload(bad={"app": "plain:app"})
    host.wait_for_state("bad", "serving", 60)
    assert host.facts("/bad")["app"] == "bad"
