"""Behind a proxy: forwarded headers believed only from allowed addresses, request ids, unix sockets.

Forwarded is RFC 7239; the X-Forwarded-* headers are what proxies send in practice.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from conftest import Launcher, Running
from rawhttp import request_bytes


def view(server: Running, headers: list[tuple[str, str]]) -> dict:
    response = server.fetch("/", headers=headers)
    assert response.status == 200, response.body
    return json.loads(response.body)


@pytest.fixture
def trusting(shared, either: tuple[str, str]) -> Running:
    """Trusts 127.0.0.1, where the tests come from."""
    return shared(
        f"canary:{either[0]}_forwarded",
        interface=either[0],
        mode=either[1],
        forwarded_allow_ips="127.0.0.1,10.0.0.0/8",
    )


@pytest.fixture
def wary(shared, either: tuple[str, str]) -> Running:
    """Trusts somebody else."""
    return shared(
        f"canary:{either[0]}_forwarded", interface=either[0], mode=either[1], forwarded_allow_ips="192.0.2.1"
    )


def test_scheme_from_a_trusted_proxy(trusting: Running) -> None:
    assert view(trusting, [("X-Forwarded-Proto", "https")])["scheme"] == "https"


def test_client_from_a_trusted_proxy(trusting: Running) -> None:
    assert view(trusting, [("X-Forwarded-For", "203.0.113.7")])["client"] == "203.0.113.7"


def test_client_is_the_last_address_that_is_not_trusted(trusting: Running) -> None:
    """What stands further left was written by whoever sent the request."""
    assert (
        view(trusting, [("X-Forwarded-For", "198.51.100.1, 203.0.113.7, 10.1.2.3")])["client"]
        == "203.0.113.7"
    )


def test_repeated_forwarded_for_is_one_list(trusting: Running) -> None:
    headers = [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.7")]
    assert view(trusting, headers)["client"] == "203.0.113.7"


@pytest.mark.serpentry_only
def test_host_from_a_trusted_proxy(trusting: Running) -> None:
    assert (
        view(trusting, [("Host", "inner:8000"), ("X-Forwarded-Host", "shop.example")])["host"]
        == "shop.example"
    )


@pytest.mark.serpentry_only
def test_forwarded_from_a_trusted_proxy(trusting: Running) -> None:
    seen = view(
        trusting, [("Forwarded", 'for="203.0.113.7:4711";proto=https;host=shop.example, for=10.0.0.9')]
    )
    assert (seen["client"], seen["scheme"], seen["host"]) == ("203.0.113.7", "https", "shop.example")


@pytest.mark.serpentry_only
def test_forwarded_with_an_ipv6_client(trusting: Running) -> None:
    assert view(trusting, [("Forwarded", 'for="[2001:db8::1]:443"')])["client"] == "2001:db8::1"


def test_nothing_is_believed_from_others(wary: Running) -> None:
    seen = view(
        wary,
        [
            ("Host", "real.example"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=203.0.113.7;proto=https;host=evil.example"),
            ("X-Forwarded-Ssl", "on"),
            ("X-Forwarded-Protocol", "ssl"),
        ],
    )
    assert seen["scheme"] == "http" and seen["client"] == "127.0.0.1" and seen["host"] == "real.example"


@pytest.mark.parametrize("value", ["https://evil", "javascript", "", "https, http", "\xff"])
def test_strange_scheme_is_no_scheme(trusting: Running, value: str) -> None:
    assert view(trusting, [("X-Forwarded-Proto", value)])["scheme"] in ("http", "https")


@pytest.mark.parametrize("value", ["", ",", "unknown", "999.1.1.1", "a b c", "\xff", "x" * 5000])
def test_strange_client_is_no_crash(trusting: Running, value: str) -> None:
    assert trusting.fetch("/", headers=[("X-Forwarded-For", value)]).status in (200, 400)


@pytest.mark.serpentry_only
def test_request_id_is_kept(trusting: Running) -> None:
    response = trusting.fetch("/", headers={"X-Request-ID": "from-the-edge-1"})
    assert json.loads(response.body)["headers"]["HTTP_X_REQUEST_ID"] == "from-the-edge-1"
    assert response.get("X-Request-ID") == "from-the-edge-1"


@pytest.mark.serpentry_only
def test_request_id_is_made_when_missing(trusting: Running) -> None:
    ids = set()
    for _ in range(10):
        response = trusting.fetch("/")
        seen = json.loads(response.body)["headers"]["HTTP_X_REQUEST_ID"]
        assert re.fullmatch(r"[0-9A-Za-z._-]{8,64}", seen) and response.get("X-Request-ID") == seen
        ids.add(seen)
    assert len(ids) == 10


@pytest.mark.serpentry_only
@pytest.mark.parametrize("value", ["x" * 5000, "a b\tc", '"><script>', "\xff\xfe"])
def test_strange_request_id_is_replaced_or_harmless(trusting: Running, value: str) -> None:
    response = trusting.fetch("/", headers={"X-Request-ID": value})
    assert re.fullmatch(r"[\x21-\x7e]{1,256}", response.get("X-Request-ID"))


@pytest.mark.serpentry_only
def test_request_start_is_set(trusting: Running) -> None:
    """Milliseconds since 1970 or, as "t=...", microseconds or seconds: what monitoring agents parse."""
    value = view(trusting, [])["headers"]["HTTP_X_REQUEST_START"]
    number = float(value.removeprefix("t="))
    while number > 1e11:
        number /= 1000
    assert abs(number - time.time()) < 10


@pytest.mark.serpentry_only
def test_request_start_of_the_proxy_is_kept(trusting: Running) -> None:
    assert (
        view(trusting, [("X-Request-Start", "t=1700000000000")])["headers"]["HTTP_X_REQUEST_START"]
        == "t=1700000000000"
    )


def test_unix_socket(launch: Launcher, either: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    server = launch(f"canary:{either[0]}", interface=either[0], mode=either[1], bind=f"unix:{path}")
    assert server.address == str(path)
    with server.connect() as connection:
        for _ in range(2):
            response = connection.send(request_bytes("POST", "/unix", body=b"hello")).read_response()
            assert response.body == b"ok"
            if not response.keeps_alive:
                break
    server.wait_for_event("body 5 /unix")


def test_unix_socket_file_left_behind_is_no_obstacle(
    launch: Launcher, either: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "server.sock"
    first = launch(f"canary:{either[0]}", interface=either[0], mode=either[1], bind=f"unix:{path}")
    first.kill()
    assert path.exists()
    second = launch(f"canary:{either[0]}", interface=either[0], mode=either[1], bind=f"unix:{path}")
    assert second.fetch("/again").body == b"ok"


@pytest.mark.serpentry_only
def test_several_binds(launch: Launcher, tmp_path: Path) -> None:
    path = tmp_path / "also.sock"
    server = launch("canary:wsgi", interface="wsgi", flags=("--bind", f"unix:{path}"))
    assert server.fetch("/tcp").body == b"ok"
    server.address = str(path)
    assert server.fetch("/unix").body == b"ok"


def test_root_path(launch: Launcher, either: tuple[str, str]) -> None:
    """Mounted under a prefix: WSGI SCRIPT_NAME, ASGI root_path."""
    server = launch(f"{either[0]}_plain:app", interface=either[0], mode=either[1], root_path="/mounted")
    if either[0] == "wsgi":
        environ = json.loads(server.fetch("/mounted/environ/x").body)
        assert (environ["SCRIPT_NAME"][1], environ["PATH_INFO"][1]) == ("/mounted", "/environ/x")
    else:
        scope = json.loads(server.fetch("/mounted/scope").body)["scope"]
        assert (scope["root_path"], scope["path"]) == ("/mounted", "/mounted/scope")


@pytest.mark.serpentry_only
@pytest.mark.parametrize("form", ["common", "combined", "json"])
def test_access_log_forms(launch: Launcher, tmp_path: Path, form: str) -> None:
    log = tmp_path / "access.log"
    server = launch("canary:wsgi", interface="wsgi", flags=("--access-log", str(log), "--log-format", form))
    server.fetch(
        "/logged?a=1",
        headers={"User-Agent": 'ev"il', "Referer": "http://r.example/", "X-Request-ID": "log-me"},
    )
    from servers import wait_until

    line = str(wait_until(lambda: log.exists() and log.read_text(), 5, "a line")).strip()
    assert "\n" not in line and "/logged?a=1" in line
    if form == "json":
        assert 200 in json.loads(line).values() and "log-me" in line
        return
    moment = r"\[\d{2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}\]"
    pattern = rf'127\.0\.0\.1 - - {moment} "GET /logged\?a=1 HTTP/1\.1" 200 2'
    assert re.match(pattern, line), line
    if form == "combined":
        assert '"http://r.example/"' in line and 'ev"il' not in line, "a quote in a header must be escaped"
