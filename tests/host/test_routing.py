"""Which application a request reaches, what that application sees, and what the host answers when none is meant."""

from __future__ import annotations

import json

import pytest
from conftest import Starter, TestHost

ROUTES = {
    "exact": ["shop.example.com"],
    "wild": ["*.example.com"],
    "deep": ["*.eu.example.com"],
    "blog": ["shop.example.com/blog"],
    "archive": ["shop.example.com/blog/archive"],
    "any": ["/status"],
}


@pytest.fixture
def routed(start: Starter) -> TestHost:
    return start({name: {"routes": routes} for name, routes in ROUTES.items()})


@pytest.mark.parametrize("end", ["", ":8000", "."])
def test_hosts_and_prefixes(routed: TestHost, end: str) -> None:
    """The exact host before wildcards, the longest wildcard first, then any host; within a host the longest prefix."""
    for host, target, app, root, path in [
        ("shop.example.com", "/", "exact", "", "/"),
        ("SHOP.Example.COM", "/x", "exact", "", "/x"),
        ("a.example.com", "/", "wild", "", "/"),
        ("a.b.example.com", "/", "wild", "", "/"),
        ("fr.eu.example.com", "/", "deep", "", "/"),
        ("shop.example.com", "/blog", "blog", "/blog", ""),
        ("shop.example.com", "/blog/", "blog", "/blog", "/"),
        ("shop.example.com", "/blog/2026?page=2", "blog", "/blog", "/2026"),
        ("shop.example.com", "/blogs", "exact", "", "/blogs"),
        ("shop.example.com", "/blog/archive/1", "archive", "/blog/archive", "/1"),
        ("shop.example.com", "/blog/archives", "blog", "/blog", "/archives"),
        ("elsewhere.org", "/status/now", "any", "/status", "/now"),
        ("a.example.com", "/status", "wild", "", "/status"),
    ]:
        answer = routed.facts(target, host + end)
        assert (answer["app"], answer["root"], answer["path"]) == (app, root, path), (host, target)


def test_nobody_is_meant(start: Starter) -> None:
    """An unknown host is 421, an unknown path of a known host 404; both are recognisably the host's own."""
    host = start({"secret-name": {"routes": ["shop.example.com/app", "*.example.org/app"]}})
    for name, target, status, code in [
        ("elsewhere.net", "/", 421, "unknown-host"),
        ("example.org", "/app", 421, "unknown-host"),
        ("shop.example.com", "/", 404, "no-route"),
        ("shop.example.com", "/application", 404, "no-route"),
        ("a.example.org", "/other", 404, "no-route"),
    ]:
        response = host.fetch(target, name, headers=[("Accept", "application/json")])
        assert response.status == status, (name, target)
        assert response.get("server") == "serpentry"
        assert response.get("content-type") == "application/problem+json"
        body = json.loads(response.body)
        assert body["code"] == code
        assert "not an application's" in body["detail"]
        assert b"secret-name" not in response.body, "the host must not tell which applications there are"


def test_the_404_of_an_application_is_its_own(start: Starter) -> None:
    host = start({"flask": {"app": "flask_app:app", "routes": ["/flask"]}})
    own, hosts = host.fetch("/flask/missing"), host.fetch("/flusk")
    assert (own.status, own.body) == (404, b"flask has no such page")
    assert hosts.status == 404 and b"server's own answer" in hosts.body


def test_default_app(start: Starter) -> None:
    """It gets what no route fits, whole."""
    host = start({"shop": {"routes": ["shop.example.com/a"]}, "rest": {}}, host={"default_app": "rest"})
    assert host.facts("/a/b", "shop.example.com")["app"] == "shop"
    for name, target in [("shop.example.com", "/b"), ("unknown.net", "/a")]:
        answer = host.facts(target, name)
        assert (answer["app"], answer["root"], answer["path"]) == ("rest", "", target)


def test_encoded_slashes_and_dot_segments(routed: TestHost) -> None:
    """A prefix is whole segments of the decoded path; an encoded slash is data, and dots never leave a prefix."""
    host = "shop.example.com"
    assert routed.facts("/%62log/x", host)["app"] == "blog"
    assert routed.facts("/blog%2Farchive/x", host)["app"] == "exact"
    answer = routed.facts("/blog/a%2Fb", host)
    assert (answer["app"], answer["path"]) == ("blog", "/a/b")
    assert routed.facts("/blog/./x", host)["path"] == "/./x"
    for target in ("/blog/../admin", "/blog/%2e%2e/admin", "/blog/archive/../../x", "/blog/a/../../x"):
        response = routed.fetch(target, host)
        assert response.status == 400 and b"code: no-route" in response.body, target


@pytest.mark.parametrize(
    "app, framework",
    [
        ("flask_app:app", "flask"),
        ("django_app:app", "django"),
        ("django_app:asgi", "django"),
        ("fastapi_app:app", "fastapi"),
    ],
)
def test_frameworks_below_a_prefix(start: Starter, app: str, framework: str) -> None:
    """SCRIPT_NAME or root_path are right: the path inside is, and addresses that the framework makes are."""
    host = start({"below": {"app": app, "routes": ["/mounted/here"]}})
    answer = host.facts("/mounted/here/some/page?x=1")
    assert answer["framework"] == framework
    assert (answer["root"], answer["path"], answer["query"]) == ("/mounted/here", "/some/page", "x=1")
    assert answer["url"] == "/mounted/here/some/page"
    away = host.fetch("/mounted/here/away")
    assert (away.status, away.get("location")) == (302, "/mounted/here/arrived")
    posted = host.facts("/mounted/here/form", method="POST", body=b"abc")
    assert posted["body"].startswith("ba7816bf")


def test_asgi_path_holds_the_root_path(start: Starter) -> None:
    """ASGI 3, HTTP connection scope: `path` includes `root_path`."""
    host = start({"below": {"app": "plain:asgi", "routes": ["/mounted"]}})
    answer = host.facts("/mounted/x")
    assert (answer["root"], answer["scope_path"], answer["path"]) == ("/mounted", "/mounted/x", "/x")


def test_one_connection_reaches_many(routed: TestHost) -> None:
    """Requests are routed, not connections."""
    from rawhttp import Connection, request_bytes

    with Connection(routed.address) as connection:
        for host, app in [("shop.example.com", "exact"), ("a.example.com", "wild"), ("shop.example.com", "exact")]:
            response = connection.send(request_bytes("GET", "/", {"Host": host})).read_response()
            assert json.loads(response.body)["app"] == app
        missed = connection.send(request_bytes("GET", "/", {"Host": "nowhere.net"})).read_response()
        # Not 421: every host is known as long as there is a route for any host.
        assert missed.status == 404
        again = connection.send(request_bytes("GET", "/", {"Host": "shop.example.com"})).read_response()
        assert json.loads(again.body)["app"] == "exact"
