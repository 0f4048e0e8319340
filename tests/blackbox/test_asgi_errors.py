"""ASGI applications that fail or break the specification, and lifespan in all its endings."""

from __future__ import annotations

import json
import re
import sys

import pytest
from conftest import Launcher, Running
from rawhttp import Truncated, request_bytes
from servers import APPS

sys.path.insert(0, str(APPS))
from asgi_bad import ANSWERED_500, CUT  # noqa: E402  (the routes are the table of cases)

pytestmark = pytest.mark.asgi


def worker_of(server: Running) -> int:
    return json.loads(server.fetch("/pid").body)


@pytest.mark.parametrize("case", list(ANSWERED_500))
def test_mistake_before_the_first_byte_is_a_plain_500(asgi: Running, case: str) -> None:
    """The specification: "must not start sending" before the first body event."""
    before = worker_of(asgi)
    response = asgi.fetch(f"/bad/{case}", timeout=5)
    assert response.status == 500
    assert response.get("x-evil") is None
    for secret in (b"Traceback", b"raised", b".py"):
        assert secret not in response.body, "the client must not see the traceback"
    assert worker_of(asgi) == before


@pytest.mark.parametrize("case", list(CUT))
def test_mistake_after_the_first_byte_cuts_the_connection(asgi: Running, case: str) -> None:
    before = worker_of(asgi)
    try:
        assert asgi.fetch(f"/bad/{case}", timeout=5).status == 500
    except Truncated as error:
        assert error.response is None or error.response.body in (b"first", b"body", b"")
    assert worker_of(asgi) == before


@pytest.mark.parametrize("case, body", [("many-bytes", b"bo"), ("body-after-end", b"body")])
def test_surplus_never_reaches_the_client(asgi: Running, case: str, body: bytes) -> None:
    before = worker_of(asgi)
    with asgi.connect(timeout=5) as connection:
        try:
            response = connection.send(request_bytes("GET", f"/bad/{case}")).read_response()
        except Truncated as error:
            assert case == "many-bytes" and (error.response is None or body.startswith(error.response.body))
            return
        assert response.status == 500 or response.body == body
        try:
            following = connection.send(request_bytes("GET", "/pid")).read_response()
            assert json.loads(following.body) == before
        except (Truncated, BrokenPipeError, ConnectionResetError):
            assert not connection.buffer
    assert worker_of(asgi) == before


def test_traceback_is_logged(asgi: Running) -> None:
    asgi.fetch("/bad/raise-before")
    asgi.wait_for_log(r"Traceback \(most recent call last\)")
    asgi.wait_for_log(r"RuntimeError: raised before start")


@pytest.mark.serpentry_only
@pytest.mark.parametrize("case", [*ANSWERED_500, *CUT, "many-bytes"])
def test_log_names_the_request(asgi: Running, case: str, mode: str) -> None:
    request_id = f"mistake-{case}-{mode}"
    try:
        asgi.fetch(f"/bad/{case}", headers={"X-Request-ID": request_id})
    except Truncated:
        pass
    asgi.wait_for_log(re.escape(request_id))


def test_lifespan_startup_and_shutdown(launch: Launcher, mode: str) -> None:
    server = launch("asgi_plain:app", interface="asgi", mode=mode)
    assert server.fetch("/pid").status == 200
    assert server.events() == ["lifespan startup"]
    assert server.ends_cleanly()
    assert server.events() == ["lifespan startup", "lifespan shutdown"]


def test_no_request_before_startup_is_complete(launch: Launcher) -> None:
    server = launch("lifespans:slow", interface="asgi")
    assert server.fetch("/", timeout=15).body == b"ok"
    assert server.ends_cleanly()
    assert server.events() == ["startup finished", "request", "shutdown finished"]


def test_lifespan_off_is_not_called(launch: Launcher) -> None:
    server = launch("asgi_plain:app", interface="asgi", lifespan="off")
    assert server.fetch("/pid").status == 200
    assert server.events() == []


@pytest.mark.parametrize("app", ["raises", "returns", "refuses"])
def test_lifespan_unsupported_is_fine_with_auto(launch: Launcher, app: str) -> None:
    server = launch(f"lifespans:{app}", interface="asgi", lifespan="auto")
    assert server.fetch("/").status == 200
    assert server.ends_cleanly()


def test_lifespan_failed_ends_the_server(launch: Launcher, server_name: str) -> None:
    server = launch("lifespans:failed", wait="no", interface="asgi")
    code = server.wait(15)
    assert code == 1 if server_name == "serpentry" else code != 0
    assert "the database is not there" in server.stderr()


def test_lifespan_unsupported_is_an_error_with_on(launch: Launcher, server_name: str) -> None:
    server = launch("lifespans:raises", wait="no", interface="asgi", lifespan="on")
    code = server.wait(15)
    assert code == 1 if server_name == "serpentry" else code != 0
    assert "lifespan is not for me" in server.stderr()


def test_lifespan_error_at_shutdown_still_ends(launch: Launcher) -> None:
    server = launch("lifespans:shutdown_raises", interface="asgi")
    assert server.fetch("/").status == 200
    server.stop()
    assert server.events() == ["shutdown begins"]
    assert "RuntimeError: at shutdown" in server.stderr()
