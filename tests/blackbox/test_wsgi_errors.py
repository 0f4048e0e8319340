"""WSGI applications that fail or break PEP 3333: 500 or a cut connection, a traceback, worker unharmed."""

from __future__ import annotations

import re
import sys

import pytest
from conftest import Launcher, Running
from rawhttp import Truncated, request_bytes
from servers import APPS

sys.path.insert(0, str(APPS))
from wsgi_bad import ANSWERED_500, CUT  # noqa: E402  (the routes are the table of cases)

pytestmark = pytest.mark.wsgi


def worker_of(server: Running) -> bytes:
    response = server.fetch("/pid")
    assert response.status == 200
    return response.body


@pytest.mark.parametrize("case", list(ANSWERED_500))
def test_mistake_before_the_first_byte_is_a_plain_500(wsgi: Running, case: str) -> None:
    before = worker_of(wsgi)
    response = wsgi.fetch(f"/bad/{case}")
    assert response.status == 500
    assert response.get("X-Evil") is None
    for secret in (b"Traceback", b"raised", b"wsgi_bad", b".py"):
        assert secret not in response.body, "the client must not see the traceback"
    assert worker_of(wsgi) == before, "the worker must live on"


@pytest.mark.parametrize("case", list(CUT))
def test_mistake_after_the_first_byte_cuts_the_connection(wsgi: Running, case: str) -> None:
    """A complete looking response would be a lie. Where nothing was sent yet, a 500 is as good."""
    before = worker_of(wsgi)
    try:
        assert wsgi.fetch(f"/bad/{case}").status == 500
    except Truncated as error:
        assert error.response is None or error.response.body in (b"first", b"body", b"")
    assert worker_of(wsgi) == before


@pytest.mark.parametrize("case, body", [("many-bytes", b"bo"), ("many-bytes-chunks", b"abc")])
def test_bytes_beyond_content_length_are_dropped(wsgi: Running, case: str, body: bytes) -> None:
    before = worker_of(wsgi)
    with wsgi.connect() as connection:
        response = connection.send(request_bytes("GET", f"/bad/{case}")).read_response()
        if response.status != 500:
            assert (response.status, response.body) == (200, body)
        try:
            following = connection.send(request_bytes("GET", "/pid")).read_response()
            assert following.body == before, "the surplus must not be read as the next response"
        except (Truncated, BrokenPipeError, ConnectionResetError):
            assert not connection.buffer, "closing is fine, garbage is not"
    assert worker_of(wsgi) == before


@pytest.mark.parametrize("line", ["100 Continue", "101 Switching Protocols", "103 Early Hints"])
def test_application_cannot_end_with_an_interim_status(wsgi: Running, line: str) -> None:
    response = wsgi.fetch("/status?line=" + line.replace(" ", "%20"))
    assert response.status == 500 and response.interim == []


def test_system_exit_does_not_take_the_server_down(launch: Launcher, mode: str) -> None:
    server = launch("wsgi_plain:app", interface="wsgi", mode=mode)
    try:
        assert server.fetch("/bad/system-exit").status in (500, 502)
    except Truncated:
        pytest.fail("no answer at all")
    assert server.fetch("/pid").status == 200


def test_unknown_route_is_a_500_of_the_application(wsgi: Running) -> None:
    assert wsgi.fetch("/no-such-route").status == 500


def test_traceback_is_logged(wsgi: Running) -> None:
    wsgi.fetch("/bad/raise-before")
    wsgi.wait_for_log(r"Traceback \(most recent call last\)")
    wsgi.wait_for_log(r"^.*RuntimeError: raised before start_response")
    wsgi.wait_for_log(r"wsgi_bad\.py\W.*line \d+")


@pytest.mark.serpentry_only
@pytest.mark.parametrize("case", [*ANSWERED_500, *CUT, "many-bytes", "system-exit"])
def test_log_names_the_request(wsgi: Running, case: str, mode: str) -> None:
    """Every mistake leaves a line with the id of the request that met it."""
    request_id = f"mistake-{case}-{mode}"
    try:
        wsgi.fetch(f"/bad/{case}", headers={"X-Request-ID": request_id})
    except Truncated:
        pass
    wsgi.wait_for_log(re.escape(request_id))


@pytest.mark.serpentry_only
def test_500_carries_the_request_id(wsgi: Running) -> None:
    response = wsgi.fetch("/bad/raise-before", headers={"X-Request-ID": "to-be-found-again"})
    assert response.get("X-Request-ID") == "to-be-found-again"


@pytest.mark.parametrize("cut", ["length", "chunked"])
def test_body_cut_short_is_an_error_for_the_application(wsgi: Running, cut: str) -> None:
    """read() must raise, not return what came so far (the issue: "an error, not a short body")."""
    count = len(wsgi.events())
    headers = {"Content-Length": "100"} if cut == "length" else {"Transfer-Encoding": "chunked"}
    part = b"only this" if cut == "length" else b"9\r\nonly this\r\n"
    with wsgi.connect() as connection:
        connection.send(request_bytes("POST", "/read-caught", headers) + part)
        connection.end_of_input()
        try:
            assert connection.read_response().status >= 400
        except Truncated:
            pass
    wsgi.fetch("/close?tag=fence-cut")
    wsgi.wait_for_event("closed fence-cut")
    new = wsgi.events()[count:]
    assert not any(line.startswith("whole body") for line in new), new
