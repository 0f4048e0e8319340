"""A changed file: what each kind of change does; a broken file or application changes nothing that serves."""

from __future__ import annotations

import signal
import time

import pytest
import toml_text
from conftest import Starter, TestHost
from load import Load, wait_for_progress
from servers import wait_until


def pids(host: TestHost, name: str) -> list[int]:
    return sorted(host.serving_pids(name))


def generation(host: TestHost, name: str) -> int:
    return int(host.app(name)["generation"])


@pytest.fixture
def two(start: Starter) -> TestHost:
    return start({"one": {"routes": ["/one"]}, "two": {"routes": ["/two"]}})


def test_a_changed_application_gets_new_workers(two: TestHost) -> None:
    before, other = pids(two, "one"), pids(two, "two")
    answer = two.reload(one={"env": {"NAME": "one", "MARK": "2"}})
    assert "one" in answer
    assert two.facts("/one")["mark"] == "2"
    assert not set(before) & set(pids(two, "one"))
    assert pids(two, "two") == other, "the other application is not touched"
    assert generation(two, "one") == 2 and generation(two, "two") == 1


def test_limits_change_in_place(two: TestHost) -> None:
    before = pids(two, "one")
    two.reload(one={"limits": {"queue": 7, "request_timeout": "300ms"}})
    assert pids(two, "one") == before
    assert two.app("one")["queue"]["limit"] == 7
    assert two.fetch("/one/slow?seconds=5").status == 504


def test_workers_change_in_place(two: TestHost) -> None:
    before = pids(two, "one")
    two.reload(one={"workers": 3})
    two.wait_for_app("one", lambda app: len(two.serving_pids("one")) == 3, "three workers")
    assert set(before) < set(pids(two, "one"))
    two.reload(one={"workers": 1})
    two.wait_for_app("one", lambda app: len(app["workers"]) == 1, "one worker")


def test_routes_change_in_place(two: TestHost) -> None:
    before = pids(two, "one")
    two.reload(one={"routes": ["/uno"]})
    assert two.facts("/uno/x")["root"] == "/uno"
    assert two.fetch("/one/x").status == 404
    assert pids(two, "one") == before


def test_applications_swap_routes(two: TestHost) -> None:
    two.reload(one={"routes": ["/two"]}, two={"routes": ["/one"]})
    assert two.facts("/one")["app"] == "two"
    assert two.facts("/two")["app"] == "one"


def test_added_and_removed(two: TestHost) -> None:
    env = {"NAME": "three", "MARK": "1"}
    three = {**two.apps["one"], "routes": ["/three"], "env": env}
    answer = two.reload(three=three, two=None)
    assert "three" in answer and "two" in answer
    assert two.facts("/three")["app"] == "three"
    assert two.fetch("/two").status == 404
    assert [app["name"] for app in two.status()["apps"]] == ["one", "three"]
    two.wait(lambda: len(two.processes()) == 2, "the workers of the removed application are gone")


def test_a_removed_application_finishes_its_requests(start: Starter) -> None:
    from load import in_background

    host = start({"one": {"routes": ["/one"]}, "two": {"routes": ["/two"]}})
    answer = in_background(host.address, "/two/wait?for=go", timeout=60)
    host.wait(lambda: "waiting" in host.events(), "the request is inside")
    host.reload(two=None)
    assert host.fetch("/two").status == 404
    (host.folder / "go").touch()
    assert answer.result(30).status == 200


def test_nothing_changed(two: TestHost) -> None:
    before = pids(two, "one") + pids(two, "two")
    two.do("reload")
    assert pids(two, "one") + pids(two, "two") == before
    assert generation(two, "one") == 1


BROKEN_FILES = {
    "unknown key": ("[apps.one]\n", "[apps.one]\nworkerz = 2\n", "workerz"),
    "syntax": ("[apps.one]\n", "[apps.one\n", "serpentry.toml"),
    "wrong type": ("[apps.one]\n", "[apps.one]\nworkers = true\n", "workers"),
    "wrong unit": ("[apps.one]\n", '[apps.one]\nstart_timeout = "3 apples"\n', "start_timeout"),
    "no directory": ("[apps.one]\n", '[apps.one]\ndirectory = "/nonexistent/x"\n', "/nonexistent/x"),
    "same route": ('["/two"]', '["/one"]', "/one"),
}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_an_error_in_the_file_changes_nothing(two: TestHost, kind: str) -> None:
    old, new, mentioned = BROKEN_FILES[kind]
    text = two.file.read_text()
    if kind == "no directory":
        text = "\n".join(line for line in text.splitlines() if not line.startswith("directory")) + "\n"
    elif kind == "wrong type":
        text = "\n".join(line for line in text.splitlines() if not line.startswith("workers")) + "\n"
    assert old in text
    before = pids(two, "one") + pids(two, "two")
    toml_text.replace_file(two.file, text.replace(old, new, 1))
    done = two.run("reload")
    assert done.returncode in (1, 78), done
    assert mentioned in done.stdout + done.stderr
    assert pids(two, "one") + pids(two, "two") == before
    assert two.facts("/one")["mark"] == "1" and two.facts("/two")["mark"] == "1"
    two.write()
    two.do("reload")


def test_garbage_in_the_file_changes_nothing(two: TestHost) -> None:
    import random

    before = pids(two, "one")
    two.file.write_bytes(random.Random(1).randbytes(5 << 20))
    done = two.run("reload")
    assert done.returncode in (1, 78)
    assert len(done.stdout + done.stderr) < 20_000, "five megabytes of garbage get a short answer"
    assert pids(two, "one") == before and two.facts("/one")["app"] == "one"


def test_a_missing_file_changes_nothing(two: TestHost) -> None:
    two.file.unlink()
    done = two.run("reload")
    assert done.returncode in (1, 78)
    assert "serpentry.toml" in done.stdout + done.stderr
    assert two.facts("/one")["app"] == "one"


def test_a_broken_application_answers_with_its_traceback(two: TestHost) -> None:
    """The old generation keeps serving, and the others of the same file change."""
    before = pids(two, "one")
    broken = {"app": "bad:app", "env": {"NAME": "one", "MARK": "2", "HOW": "import"}}
    two.write(one=broken, two={"env": {"NAME": "two", "MARK": "2"}})
    done = two.run("reload")
    answer = done.stdout + done.stderr
    assert done.returncode == 1, answer
    assert "Traceback" in answer and "broken on purpose" in answer and "one" in answer
    assert pids(two, "one") == before and two.facts("/one")["mark"] == "1"
    assert two.facts("/two")["mark"] == "2"
    assert "broken on purpose" in str(two.app("one")["last_error"])
    two.reload(one={"app": "plain:app", "env": {"NAME": "one", "MARK": "3"}})
    assert two.facts("/one")["mark"] == "3"
    assert two.app("one")["last_error"] is None


def test_reload_under_load_loses_nothing(two: TestHost) -> None:
    with Load(two.address, "/one/x", clients=4) as load:
        wait_for_progress(load, wait_until)
        for mark in ("2", "3", "4"):
            two.reload(one={"env": {"NAME": "one", "MARK": mark}})
            wait_for_progress(load, wait_until)
    assert load.failures == []


def test_hup_reloads_the_file(two: TestHost) -> None:
    two.write(one={"env": {"NAME": "one", "MARK": "2"}})
    two.child.send_signal(signal.SIGHUP)
    two.wait(lambda: two.facts("/one")["mark"] == "2", "the new version answers", every=0.1)


def test_hup_with_an_error_says_so_and_goes_on(two: TestHost) -> None:
    toml_text.replace_file(two.file, "nonsense = [\n")
    two.child.send_signal(signal.SIGHUP)
    two.wait_for_output("nothing has changed")
    assert two.facts("/one")["mark"] == "1"


@pytest.mark.parametrize("how", ["rename", "in place"])
def test_watch(start: Starter, how: str) -> None:
    """With --watch the file takes effect when it is saved, by a rename (as editors do) or in place."""
    host = start({"one": {"routes": ["/one"]}}, flags=("--watch",))
    for mark in ("2", "3"):
        host.apps["one"]["env"]["MARK"] = mark
        text = toml_text.document(host.settings, host.apps)
        if how == "rename":
            toml_text.replace_file(host.file, text)
        else:
            host.file.write_text(text)
        host.wait(lambda mark=mark: host.facts("/one")["mark"] == mark, f"version {mark} answers", every=0.1)


def test_a_file_that_is_rewritten_while_it_is_read(two: TestHost) -> None:
    """Whatever a reload finds, the host serves on, and the last one finds the whole file."""
    text = two.file.read_text()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        with two.file.open("w") as file:
            for line in text.splitlines(keepends=True):
                file.write(line)
                file.flush()
        two.child.send_signal(signal.SIGHUP)
        assert two.fetch("/one").status in (200, 404)
    two.do("reload")
    assert two.facts("/one")["app"] == "one"
