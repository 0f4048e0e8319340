"""Flask, Django and FastAPI as they are really used: the frameworks' own parsers, sessions and streams.

Reached with `requests` and `websockets`, like a user would.
"""

from __future__ import annotations

import hashlib
import json
import os
import re

import pytest
import requests
from conftest import Launcher, Running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

MIB = 1024 * 1024
DATA = os.urandom(3 * MIB)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def flask(shared, mode: str) -> Running:
    return shared("flask_app:app", interface="wsgi", mode=mode)


@pytest.fixture
def django(shared, either: tuple[str, str]) -> Running:
    return shared(f"django_app:{either[0]}", interface=either[0], mode=either[1])


@pytest.fixture
def fastapi(shared, mode: str) -> Running:
    return shared("fastapi_app:app", interface="asgi", mode=mode)


def rows(count: int) -> str:
    return "".join(f"row {number}\n" for number in range(count))


@pytest.mark.wsgi
class TestFlask:
    def test_template(self, flask: Running) -> None:
        answer = requests.get(flask.base_url + "/?name=<b>", timeout=10)
        assert answer.status_code == 200 and "Hello &lt;b&gt;" in answer.text

    def test_session(self, flask: Running) -> None:
        with requests.Session() as client:
            assert [client.get(flask.base_url + "/count", timeout=10).json()["count"] for _ in range(3)] == [
                1,
                2,
                3,
            ]

    def test_upload(self, flask: Running) -> None:
        answer = requests.post(
            flask.base_url + "/upload",
            files={"file": ("caf\u00e9.bin", DATA)},
            data={"note": "\u20ac"},
            timeout=20,
        )
        assert answer.json() == {
            "name": "caf\u00e9.bin",
            "size": len(DATA),
            "sha256": SHA256,
            "note": "\u20ac",
        }

    def test_chunked_upload(self, flask: Running) -> None:
        """werkzeug reads a body without Content-Length only if wsgi.input_terminated is set."""
        boundary = "frontier"
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nchunked\r\n--{boundary}\r\n'
            f'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--{boundary}--\r\n'
        ).encode()
        answer = requests.post(
            flask.base_url + "/upload",
            data=iter([body[:50], body[50:]]),
            timeout=10,
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        assert answer.json()["note"] == "chunked" and answer.json()["size"] == 3

    def test_stream(self, flask: Running) -> None:
        assert requests.get(flask.base_url + "/stream?rows=5000", timeout=10).text == rows(5000)

    def test_redirect_and_flash(self, flask: Running) -> None:
        with requests.Session() as client:
            assert client.post(flask.base_url + "/form", data={"title": "a post"}, timeout=10).json() == [
                "saved a post"
            ]

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_methods_and_json(self, flask: Running, method: str) -> None:
        body = {"a": [1, 2]} if method == "PUT" else None
        answer = requests.request(method, flask.base_url + "/item/7", json=body, timeout=10)
        assert answer.json() == {"number": 7, "method": method, "json": body}

    def test_automatic_answers(self, flask: Running) -> None:
        assert requests.post(flask.base_url + "/item/7", timeout=10).status_code == 405
        assert "PUT" in requests.options(flask.base_url + "/item/7", timeout=10).headers["Allow"]
        head = requests.head(flask.base_url + "/?name=x", timeout=10)
        assert head.status_code == 200 and head.text == "" and int(head.headers["Content-Length"]) > 0

    def test_errors(self, flask: Running) -> None:
        assert requests.get(flask.base_url + "/missing", timeout=10).status_code == 404
        answer = requests.get(flask.base_url + "/teapot", timeout=10)
        assert (answer.status_code, answer.json()) == (
            418,
            {"error": "'no tea'"} if "'" in answer.text else {"error": "no tea"},
        )
        assert requests.get(flask.base_url + "/crash", timeout=10).status_code == 500
        flask.wait_for_log("RuntimeError: flask crash")

    def test_request_url(self, flask: Running) -> None:
        seen = requests.get(flask.base_url + "/remote?q=%20", timeout=10).json()
        assert seen == {"address": "127.0.0.1", "url": flask.base_url + "/remote?q=%20", "scheme": "http"}


class TestDjango:
    def test_form_csrf_and_orm(self, django: Running) -> None:
        with requests.Session() as client:
            page = client.get(django.base_url + "/form", timeout=10)
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
            name = "u" + os.urandom(4).hex()
            wrong = client.post(
                django.base_url + "/form",
                data={"csrfmiddlewaretoken": token, "username": name, "email": "not an address"},
                timeout=10,
            )
            assert wrong.status_code == 422 and "valid email" in wrong.text
            after = client.post(
                django.base_url + "/form",
                data={"csrfmiddlewaretoken": token, "username": name, "email": "a@example.org"},
                timeout=10,
            )
            assert [name, "a@example.org"] in after.json()["users"] and after.url.endswith("/users")
            assert name in client.get(django.base_url + "/users-async", timeout=10).json()["users"]

    def test_csrf_refuses(self, django: Running) -> None:
        answer = requests.post(
            django.base_url + "/form", data={"username": "x", "email": "a@example.org"}, timeout=10
        )
        assert answer.status_code == 403

    def test_session_in_the_database(self, django: Running) -> None:
        with requests.Session() as client:
            assert [client.get(django.base_url + "/count", timeout=10).json()["count"] for _ in range(3)] == [
                1,
                2,
                3,
            ]

    def test_stream(self, django: Running) -> None:
        assert requests.get(
            django.base_url + "/stream", timeout=10, headers={"Accept-Encoding": "identity"}
        ).text == rows(1000)

    def test_stream_through_gzip(self, django: Running) -> None:
        answer = requests.get(django.base_url + "/stream", timeout=10, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip" and answer.text == rows(1000)

    def test_upload(self, django: Running) -> None:
        answer = requests.post(
            django.base_url + "/upload", files={"file": ("a.bin", DATA)}, data={"note": "\u20ac"}, timeout=20
        )
        assert answer.json() == {
            "kind": "TemporaryUploadedFile",
            "size": len(DATA),
            "sha256": SHA256,
            "note": "\u20ac",
        }

    def test_request_meta(self, django: Running) -> None:
        seen = requests.get(
            django.base_url + "/meta/caf%C3%A9/x?q=%E2%82%AC", timeout=10, headers={"Host": "shop.example"}
        ).json()
        assert seen == {
            "host": "shop.example",
            "secure": False,
            "path": "/meta/caf\u00e9/x",
            "query": "\u20ac",
            "address": "127.0.0.1",
        }

    def test_crash(self, django: Running) -> None:
        assert requests.get(django.base_url + "/crash", timeout=10).status_code == 500
        django.wait_for_log("RuntimeError: django crash")

    def test_not_found(self, django: Running) -> None:
        assert requests.get(django.base_url + "/nowhere", timeout=10).status_code == 404


@pytest.mark.asgi
class TestFastAPI:
    def test_validation(self, fastapi: Running) -> None:
        good = requests.post(fastapi.base_url + "/items", json={"name": "a", "price": 1.5}, timeout=10)
        assert (good.status_code, good.json()) == (201, {"created": "a", "price": 1.5})
        bad = requests.post(fastapi.base_url + "/items", json={"name": "a", "price": -1}, timeout=10)
        assert bad.status_code == 422 and bad.json()["detail"][0]["loc"] == ["body", "price"]

    def test_dependency(self, fastapi: Running) -> None:
        assert requests.get(fastapi.base_url + "/me", timeout=10).status_code == 401
        answer = requests.get(fastapi.base_url + "/me", headers={"Authorization": "Bearer good"}, timeout=10)
        assert answer.json() == {"user": "user"}

    def test_blocking_endpoint_runs_in_the_thread_pool(self, fastapi: Running) -> None:
        assert requests.get(fastapi.base_url + "/blocking", timeout=10).json() == {"main thread": False}

    def test_lifespan_state(self, fastapi: Running) -> None:
        assert requests.get(fastapi.base_url + "/state", timeout=10).json() == {
            "pool": "a pool of connections"
        }

    def test_stream(self, fastapi: Running) -> None:
        answer = requests.get(
            fastapi.base_url + "/stream?rows=5000", timeout=20, headers={"Accept-Encoding": "identity"}
        )
        assert answer.text == rows(5000)

    def test_endless_stream_ends_with_the_client(self, fastapi: Running, mode: str) -> None:
        count = fastapi.events().count("endless ended")
        with requests.get(
            fastapi.base_url + "/endless", stream=True, timeout=10, headers={"Accept-Encoding": "identity"}
        ) as answer:
            assert next(answer.iter_content(1000)) == b"x" * 1000
        from servers import wait_until

        wait_until(lambda: fastapi.events().count("endless ended") > count, 10, "the generator is closed")

    def test_gzip_and_base_middleware(self, fastapi: Running) -> None:
        answer = requests.get(fastapi.base_url + "/big", timeout=10)
        assert answer.headers["Content-Encoding"] == "gzip" and answer.text == "a" * 100_000
        assert answer.headers["x-middleware"] == "seen"

    def test_background_task(self, fastapi: Running, mode: str) -> None:
        answer = requests.post(fastapi.base_url + f"/background?tag={mode}", timeout=10)
        assert answer.json() == {"accepted": mode} and f"task {mode}" not in fastapi.events()
        fastapi.wait_for_event(f"task {mode}")

    def test_upload(self, fastapi: Running) -> None:
        answer = requests.post(
            fastapi.base_url + "/upload",
            files={"file": ("a.bin", DATA)},
            data={"remark": "\u20ac"},
            timeout=20,
        )
        assert answer.json() == {"name": "a.bin", "size": len(DATA), "sha256": SHA256, "remark": "\u20ac"}

    def test_crash(self, fastapi: Running) -> None:
        answer = requests.get(fastapi.base_url + "/crash", timeout=10)
        assert answer.status_code == 500 and "fastapi crash" not in answer.text
        fastapi.wait_for_log("RuntimeError: fastapi crash")

    def test_websocket(self, fastapi: Running) -> None:
        with connect(fastapi.websocket_url + "/ws/lobby", proxy=None) as socket:
            socket.send(json.dumps({"a": 1}))
            assert json.loads(socket.recv(timeout=5)) == {"room": "lobby", "value": {"a": 1}}
        fastapi.wait_for_event("left lobby 1000")

    def test_websocket_closed_before_accept(self, fastapi: Running) -> None:
        with pytest.raises(InvalidStatus) as caught:
            connect(fastapi.websocket_url + "/ws/closed", proxy=None)
        assert caught.value.response.status_code == 403

    def test_mounted_starlette_and_documentation(self, fastapi: Running) -> None:
        assert (
            requests.get(fastapi.base_url + "/starlette/plain", timeout=10).text
            == "starlette /starlette/plain /starlette"
        )
        assert requests.get(fastapi.base_url + "/openapi.json", timeout=10).json()["openapi"].startswith("3.")

    def test_lifespan_is_shut_down(self, launch: Launcher, mode: str) -> None:
        server = launch("fastapi_app:app", interface="asgi", mode=mode)
        assert requests.get(server.base_url + "/state", timeout=10).status_code == 200
        assert server.ends_cleanly()
        assert server.events() == ["fastapi startup", "fastapi shutdown"]
