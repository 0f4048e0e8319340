"""`serpentry compare` on applications that cannot be compared: each is recognised, said, and nothing is lost or left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

PATIENCE = 60
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have control groups for the laboratory")
pytestmark = [needs_root, pytest.mark.alone]

HEAD = "def app(environ, start_response):\n"
GOOD = HEAD + "    start_response('200 OK', [('Content-Type', 'text/html')])\n    return [b'<p>good</p>']\n"


def answer(status: str) -> str:
    return HEAD + f"    start_response({status!r}, [])\n    return [b'']\n"


# What the application is, and what is said of it.
HOPELESS = {
    "does not boot": ("raise OSError('no licence')\n", ["does not start, so there is nothing to compare", "no licence", 'shop.py", line 1']),
    "fails": (answer("500 Oh"), ["no page that can be measured", "/: the application fails (500)", "--url"]),
    "limits its callers": (answer("429 Slow"), ["no page that can be measured", "limits its callers (429)"]),
    "is closed": (answer("503 Later"), ["no page that can be measured", "overloaded or closed (503)"]),
    "wants a login": (answer("401 Who"), ["no page that can be measured", "needs a login (401)"]),
    "is slow": ("import time\n" + HEAD + "    time.sleep(1.2)\n    start_response('200 OK', [])\n    return [b'']\n",
                ["no page that can be measured", "too slow for blocks"]),
    "changes data on GET": (HEAD + "    open('visits.db', 'a').write('1')\n    start_response('200 OK', [])\n    return [b'']\n",
                            ["no page that can be measured", "asking for it changes", "visits.db"]),
}


@pytest.fixture
def program(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--serpentry")


def command(program: str, folder: Path, *more: str) -> list[str]:
    return [program, "compare", "shop:app", "--chdir", str(folder), "--quick", "--json", "found.json", *more]


def compare(program: str, folder: Path, code: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "shop.py").write_text(code)
    return subprocess.run(command(program, folder, *more), cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def groups() -> set[str]:
    """Control groups that a laboratory's host made."""
    return {folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "serpentry-" in folder}


@pytest.mark.parametrize("kind", HOPELESS)
def test_an_application_that_cannot_be_compared_is_said_to_be_so(program: str, tmp_path: Path, kind: str) -> None:
    code, words = HOPELESS[kind]
    before = groups()
    result = compare(program, tmp_path, code)
    assert result.returncode == 1
    for word in words:
        assert word in result.stderr, result.stderr
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["interrupted"] and not document["recommendation"], "no advice without a measurement"
    assert groups() == before


def test_an_application_that_is_not_there(program: str, tmp_path: Path) -> None:
    (tmp_path / "serpentry.toml").write_text('[apps.shop]\napp = "shop:app"\nroutes = ["/"]\n')
    (tmp_path / "shop.py").write_text(GOOD)
    kept = tmp_path / "found.json"
    kept.write_text("from before")
    result = subprocess.run([program, "compare", "shoop", "--json", str(kept)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and "no application shoop: it has shop" in result.stderr, result.stderr
    assert kept.read_text() == "from before"


def test_one_that_does_not_start_isolated_is_compared_shared_and_told_why(program: str, tmp_path: Path) -> None:
    """Isolated applications have a user of their own, who may not enter a directory that is root's alone."""
    tmp_path.chmod(0o700)
    (tmp_path / "shop.py").write_text(GOOD)
    result = subprocess.run(command(program, tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["interrupted"] is None and document["ladders"] and document["recommendation"]["tenancy"] == "shared"
    (missing,) = [it for it in document["not_testable"] if it["what"] == "shared against isolated"]
    assert "it does not start so" in missing["because"] and f"{tmp_path}: Permission denied" in missing["because"], missing


def test_interrupted_it_keeps_what_it_has_and_another_one_is_refused_meanwhile(program: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(GOOD)
    before = groups()
    with open(tmp_path / "words", "w") as words:
        running = subprocess.Popen(command(program, tmp_path), cwd=tmp_path, stdout=words, stderr=words)
    try:
        deadline = time.monotonic() + PATIENCE
        while "what pages spend their time with" not in (tmp_path / "words").read_text():
            assert time.monotonic() < deadline and running.poll() is None, (tmp_path / "words").read_text()
            time.sleep(0.05)
        (tmp_path / "other").mkdir()
        second = compare(program, tmp_path / "other", GOOD)
        assert second.returncode != 0 and "laboratory" in second.stderr, second.stderr
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE) == 1
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
            subprocess.run([program, "lab", "restore"])
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["interrupted"] == "it was interrupted" and document["method"]["command"].startswith("serpentry compare shop:app")
    assert document["started"].startswith(time.strftime("%Y-", time.gmtime()))
    assert "</html>" in (tmp_path / "serpentry-compare-shop-app.html").read_text()
    assert groups() == before
