"""ASGI 3, HTTP: scope, receive, send, streaming, concurrency (asgi.readthedocs.io, HTTP & WebSocket 2.x)."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Running
from rawhttp import Truncated, request_bytes
from servers import memory, wait_until

pytestmark = pytest.mark.asgi
MIB = 1024 * 1024


def scope_of(server: Running, request: bytes) -> dict:
    with server.connect() as connection:
        connection.send(request)
        port = connection.sock.getsockname()[1]
        response = connection.read_response()
    assert response.status == 200, response.body
    shown = json.loads(response.body)
    assert shown["is dict"] and shown["header pair types"] in (["bytes"], [])
    shown["scope"]["client port of the test"] = port
    return shown["scope"]


def test_scope_is_complete(asgi: Running) -> None:
    scope = scope_of(asgi, request_bytes("GET", "/scope/a?x=1&y=%20", {"Host": "shop.example:8080"}))
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0" and scope["asgi"]["spec_version"] in ("2.3", "2.4", "2.5")
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/scope/a"
    assert scope["raw_path"] == {"bytes": "/scope/a"}
    assert scope["query_string"] == {"bytes": "x=1&y=%20"}
    assert scope["root_path"] == ""
    assert scope["client"] == ["127.0.0.1", scope["client port of the test"]]
    assert scope["server"] == list(asgi.address)
    assert scope["state"]["from_lifespan"] == "value"
    assert [{"bytes": "host"}, {"bytes": "shop.example:8080"}] in scope["headers"]


def test_scope_path_is_decoded_as_utf8(asgi: Running) -> None:
    scope = scope_of(asgi, request_bytes("GET", "/scope/%E2%82%AC/%2F+a%20b;c"))
    assert scope["path"] == "/scope/\u20ac//+a b;c"
    assert scope["raw_path"] == {"bytes": "/scope/%E2%82%AC/%2F+a%20b;c"}


def test_scope_path_that_is_not_utf8_is_no_crash(asgi: Running) -> None:
    with asgi.connect() as connection:
        response = connection.send(request_bytes("GET", "/scope/%FF%FE")).read_response()
    assert response.status in (200, 400)


def test_scope_headers_are_lower_case_in_order_and_not_joined(asgi: Running) -> None:
    headers = [("X-Many", "a"), ("X-Other", "o"), ("x-MANY", "b"), ("Cookie", "c=1")]
    pairs = [
        (name["bytes"], value["bytes"])
        for name, value in scope_of(asgi, request_bytes("GET", "/scope", headers))["headers"]
    ]
    assert [pair for pair in pairs if pair[0].startswith("x-") and pair[0] in ("x-many", "x-other")] == [
        ("x-many", "a"),
        ("x-other", "o"),
        ("x-many", "b"),
    ]
    assert ("cookie", "c=1") in pairs


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_scope_method(asgi: Running, method: str) -> None:
    assert scope_of(asgi, request_bytes(method, "/scope"))["method"] == method


def test_scope_1_0(asgi: Running) -> None:
    assert scope_of(asgi, b"GET /scope HTTP/1.0\r\n\r\n")["http_version"] == "1.0"


def test_scope_state_is_a_copy_for_each_request(asgi: Running) -> None:
    """Shallow copy (lifespan state): the same objects, another dictionary."""
    assert scope_of(asgi, request_bytes("GET", "/scope"))["state"] == {
        "from_lifespan": "value",
        "counter": [],
    }


def test_body_in_one_piece(asgi: Running) -> None:
    assert asgi.fetch("/echo", "POST", body=b"hello").body == b"hello"


def test_no_body_is_one_empty_message(asgi: Running) -> None:
    assert json.loads(asgi.fetch("/messages").body) == [["http.request", 0, False]]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_big_body_comes_in_pieces(asgi: Running, framing: str) -> None:
    body, headers = b"x" * 2_000_000, {}
    if framing == "chunked":
        body = b"".join(b"%x\r\n%s\r\n" % (200_000, b"x" * 200_000) for _ in range(10)) + b"0\r\n\r\n"
        headers = {"Transfer-Encoding": "chunked"}
    seen = json.loads(asgi.fetch("/messages", "POST", body=body, headers=headers).body)
    assert sum(size for _, size, _ in seen) == 2_000_000
    assert [more for _, _, more in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) > 1 and {kind for kind, _, _ in seen} == {"http.request"}


def test_disconnect_after_the_response(asgi: Running, mode: str) -> None:
    with asgi.connect() as connection:
        connection.send(request_bytes("GET", "/disconnect-after")).read_response()
        asgi.wait_for_event("after response http.disconnect")


def test_disconnect_when_the_client_leaves(asgi: Running) -> None:
    with asgi.connect() as connection:
        connection.send(request_bytes("POST", "/wait-disconnect", body=b"abc"))
        asgi.wait_for_event("waiting")
    asgi.wait_for_event("left http.disconnect http.disconnect")


@pytest.mark.parametrize("sent", [9, 4 * MIB], ids=["small", "streamed"])
def test_body_cut_short_is_a_disconnect(asgi: Running, sent: int) -> None:
    """A server that reads ahead may never call the application; one that calls it must say so."""
    before = asgi.events()
    with asgi.connect() as connection:
        connection.send(request_bytes("POST", "/read-caught", {"Content-Length": str(sent + 1000)}))
        connection.send(b"x" * sent)
        if sent > MIB:
            wait_until(lambda: asgi.events().count("reading") > before.count("reading"), 10, "it streams")
    asgi.fetch("/pid")
    if asgi.events().count("reading") > before.count("reading"):
        wait_until(lambda: asgi.events().count("body cut") > before.count("body cut"), 10, "the disconnect")
    assert not [line for line in asgi.events() if line.startswith("whole body")]


def test_streaming_arrives_before_the_application_ends(asgi: Running) -> None:
    with asgi.connect() as connection:
        connection.send(request_bytes("GET", "/lazy"))
        assert connection.read_start().status == 200
        assert connection.read_chunk() == b"first"
        asgi.fetch("/go")
        assert connection.read_chunk() == b"second"
        assert connection.read_chunk() == b""


def test_fast_producer_waits_for_a_slow_client(asgi: Running) -> None:
    """200 MiB are offered and the client reads none: neither server nor worker may hold them."""
    base = sum(memory(pid) for pid in asgi.all_pids())
    with asgi.connect(receive_buffer=65536, timeout=30) as connection:
        connection.send(request_bytes("GET", "/producer?mib=200"))
        assert connection.read_start().status == 200
        last = [-1, time.monotonic()]

        def stalled() -> bool:
            sent = json.loads(asgi.fetch("/progress").body)["sent"]
            if sent != last[0]:
                last[:] = [sent, time.monotonic()]
            return sent > 0 and time.monotonic() - last[1] > 0.5

        wait_until(stalled, 15, "the producer waits")
        assert last[0] < 40 * MIB, f"{last[0]} bytes were taken from the application"
        assert sum(memory(pid) for pid in asgi.all_pids()) - base < 48 * MIB
    wait_until(
        lambda: json.loads(asgi.fetch("/progress").body).get("done"), 10, "producer ends once the client left"
    )


def test_slow_application_holds_back_a_fast_client(asgi: Running) -> None:
    """The upload stalls in the sockets instead of filling memory, then arrives whole."""
    body = bytes(range(256)) * (12 * 4096)  # 12 MiB, below the default limit of the body
    outcome = {}

    def upload() -> None:
        outcome["response"] = asgi.fetch("/slow-reader", "POST", body=body, timeout=40)

    count = asgi.events().count("first taken")
    thread = threading.Thread(target=upload)
    thread.start()
    wait_until(lambda: asgi.events().count("first taken") > count, 10, "first message")
    asgi.fetch("/go")
    thread.join(30)
    assert json.loads(outcome["response"].body) == {
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


def test_hundred_sleeping_requests_share_one_worker(asgi: Running) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: asgi.fetch("/sleep?seconds=0.3").status, range(100)))
    assert answers == [200] * 100
    assert time.monotonic() - started < 2


def test_work_after_the_response_goes_on(asgi: Running, mode: str) -> None:
    with asgi.connect() as connection:
        started = time.monotonic()
        connection.send(request_bytes("GET", f"/background?tag={mode}")).read_response()
        assert time.monotonic() - started < 0.15, "the answer does not wait for what follows it"
    asgi.wait_for_event(f"background {mode}")


def test_next_request_on_the_connection_while_the_last_still_works(asgi: Running) -> None:
    with asgi.connect() as connection:
        for number in range(3):
            connection.send(request_bytes("GET", f"/background?tag=keep{number}"))
            assert json.loads(connection.read_response().body) == "answered"
    asgi.wait_for_event("background keep2")


def test_context_variables_are_isolated(asgi: Running) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: json.loads(asgi.fetch(f"/contextvar?value={n}").body), range(100)))
    assert answers == [["unset", str(number)] for number in range(100)]


def test_context_variables_are_isolated_on_one_connection(asgi: Running) -> None:
    with asgi.connect() as connection:
        for number in range(3):
            connection.send(request_bytes("GET", f"/contextvar?value={number}"))
            assert json.loads(connection.read_response().body) == ["unset", str(number)]


def test_loop_is_the_one_asked_for(asgi: Running, mode: str) -> None:
    assert json.loads(asgi.fetch("/loop").body).startswith("uvloop" if mode == "uvloop" else "asyncio")


def test_repeated_response_headers_stay_apart(asgi: Running) -> None:
    response = asgi.fetch("/cookies")
    assert response.get_all("set-cookie") == ["a=1", "b=2"] and response.get("x-latin") == "caf\xe9"


def test_optional_keys_have_defaults(asgi: Running) -> None:
    response = asgi.fetch("/defaults")
    assert (response.status, response.body) == (200, b"")


def test_headers_may_be_any_iterable(asgi: Running) -> None:
    response = asgi.fetch("/pair-types")
    assert (response.get("x-a"), response.get("x-b"), response.body) == ("1", "2", b"ok")


def test_send_from_another_task(asgi: Running) -> None:
    assert asgi.fetch("/task-after").body == b"from a task"


@pytest.mark.parametrize(
    "target",
    [
        "/status?code=204",
        "/status?code=204&body=forbidden",
        "/status?code=304&body=forbidden",
        "/status?code=304",
        "/status?code=200&body=abc",
        "/status?code=200&body=abc&length=3",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_framing_is_right_whatever_the_application_does(asgi: Running, target: str, method: str) -> None:
    with asgi.connect() as connection:
        response = connection.send(request_bytes(method, target)).read_response(method)
        assert response.body == (b"abc" if method == "GET" and "=200" in target else b"")
        if response.keeps_alive:
            assert connection.send(request_bytes("GET", "/pid")).read_response().status == 200
        else:
            assert connection.is_closed()


def test_pipelined_requests_are_answered_in_order(asgi: Running) -> None:
    """The first sleeps longest, so an answer out of order would show."""
    delays = ["0.2", "0.1", "0", "0"]
    with asgi.connect() as connection:
        connection.send(
            b"".join(request_bytes("GET", f"/sleep?seconds={delay}") for delay in delays[:2])
            + request_bytes("GET", "/pid")
            + request_bytes("GET", "/loop")
        )
        bodies = [json.loads(connection.read_response().body) for _ in delays]
    assert bodies[:2] == ["slept", "slept"] and isinstance(bodies[2], int) and isinstance(bodies[3], str)


def test_expect_continue(asgi: Running) -> None:
    with asgi.connect() as connection:
        connection.send(request_bytes("POST", "/echo", {"Expect": "100-continue", "Content-Length": "5"}))
        assert connection.read_interim().status == 100
        assert connection.send(b"hello").read_response().body == b"hello"


def test_chunked_on_1_1_and_close_on_1_0(asgi: Running) -> None:
    for version in ("1.1", "1.0"):
        with asgi.connect(timeout=30) as connection:
            connection.send(request_bytes("GET", "/producer?mib=1", version=version))
            response = connection.read_response()
            assert len(response.body) == MIB
            assert (response.chunks is None) == (version == "1.0")


def test_connection_survives_the_cut_of_another(asgi: Running) -> None:
    with asgi.connect() as steady:
        steady.send(request_bytes("GET", "/pid")).read_response()
        with pytest.raises(Truncated):
            asgi.fetch("/bad/raise-after-first")
        assert steady.send(request_bytes("GET", "/pid")).read_response().status == 200
