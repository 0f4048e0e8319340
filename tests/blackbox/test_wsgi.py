"""WSGI to the letter of PEP 3333: environ, input, start_response, iterables and their ends.

How HTTP frames what the application says is in test_wsgi_http.py, applications that break the rules are in
test_wsgi_errors.py.
"""

from __future__ import annotations

import json

import pytest
from conftest import Running
from rawhttp import Truncated, request_bytes

pytestmark = pytest.mark.wsgi


def environ_of(server: Running, request: bytes) -> dict[str, list]:
    with server.connect() as connection:
        response = connection.send(request).read_response()
    assert response.status == 200, response.body
    return json.loads(response.body)


def test_environ_has_every_key_with_its_type(wsgi: Running) -> None:
    environ = environ_of(wsgi, request_bytes("GET", "/environ/a?x=1&y=%20", {"Host": "shop.example:8080"}))
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ/a",
        "QUERY_STRING": "x=1&y=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop.example:8080",
        "wsgi.url_scheme": "http",
        "REMOTE_ADDR": "127.0.0.1",
    }
    for key, value in expected.items():
        assert environ[key] == ["str", value], key
    assert environ["SERVER_NAME"][0] == "str" and environ["SERVER_NAME"][1]
    assert environ["SERVER_PORT"][0] == "str" and environ["SERVER_PORT"][1].isdigit()
    assert environ["exactly a dict"] == ["bool", True]
    assert environ["wsgi.version"] == ["tuple", [1, 0]]
    assert environ["wsgi.run_once"][1] is False
    assert environ["wsgi.multithread"][0] == environ["wsgi.multiprocess"][0] == "bool"
    assert environ["wsgi.input_terminated"][1] is True  # werkzeug reads chunked bodies only then
    assert environ["errors methods"][1] == ["write", "writelines", "flush"]
    assert "wsgi.input" in environ
    for key, (kind, _) in environ.items():
        if key.isupper():
            assert kind == "str", f"{key} is {kind}, CGI variables are str"
    assert "HTTP_CONTENT_LENGTH" not in environ and "HTTP_CONTENT_TYPE" not in environ


def test_environ_multithread_is_true_only_with_threads(wsgi: Running, mode: str) -> None:
    assert environ_of(wsgi, request_bytes("GET", "/environ"))["wsgi.multithread"][1] is (mode == "threads")


def test_environ_client_port(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        port = connection.sock.getsockname()[1]
        body = connection.send(request_bytes("GET", "/environ")).read_response().body
    assert json.loads(body)["REMOTE_PORT"] == ["str", str(port)]


def test_path_is_percent_decoded_as_latin1(wsgi: Running) -> None:
    environ = environ_of(wsgi, request_bytes("GET", "/environ/%E2%82%AC/%2F+a%20b;c"))
    assert environ["PATH_INFO"][1] == "/environ/\xe2\x82\xac//+a b;c"
    assert environ["SCRIPT_NAME"][1] == ""


def test_query_string_is_left_alone(wsgi: Running) -> None:
    environ = environ_of(wsgi, request_bytes("GET", "/environ?a=%E2%82%AC&b=+&c=?&a=1"))
    assert environ["QUERY_STRING"][1] == "a=%E2%82%AC&b=+&c=?&a=1"


def test_no_query_string_is_empty(wsgi: Running) -> None:
    assert environ_of(wsgi, request_bytes("GET", "/environ")).get("QUERY_STRING", ["str", ""])[1] == ""


def test_absolute_form_target(wsgi: Running) -> None:
    environ = environ_of(wsgi, request_bytes("GET", "http://test.example/environ/x?y=1"))
    assert (environ["PATH_INFO"][1], environ["QUERY_STRING"][1]) == ("/environ/x", "y=1")


def test_header_values_are_latin1_and_trimmed(wsgi: Running) -> None:
    environ = environ_of(
        wsgi, b"GET /environ HTTP/1.1\r\nHost: a\r\nX-Caf:  \t caf\xe9 \t\r\nX-Empty:\r\n\r\n"
    )
    assert environ["HTTP_X_CAF"] == ["str", "caf\xe9"]
    assert environ["HTTP_X_EMPTY"] == ["str", ""]


def test_repeated_headers_are_joined(wsgi: Running) -> None:
    environ = environ_of(
        wsgi, request_bytes("GET", "/environ", [("X-Many", "a"), ("x-many", "b"), ("X-MANY", "c")])
    )
    assert [part.strip() for part in environ["HTTP_X_MANY"][1].split(",")] == ["a", "b", "c"]


def test_repeated_cookies_are_joined_with_semicolons(wsgi: Running) -> None:
    """RFC 9113 8.2.3: a comma would change the meaning of a cookie."""
    environ = environ_of(wsgi, request_bytes("GET", "/environ", [("Cookie", "a=1"), ("Cookie", "b=2")]))
    assert environ["HTTP_COOKIE"][1].replace("; ", ";") == "a=1;b=2"


def test_underscore_header_cannot_pose_as_dashed(wsgi: Running) -> None:
    """X_Forwarded_User and X-Forwarded-User give the same key: the forged one must not win or be joined."""
    headers = [("X-Remote-User", "real"), ("X_Remote_User", "forged")]
    environ = environ_of(wsgi, request_bytes("GET", "/environ", headers))
    assert environ["HTTP_X_REMOTE_USER"][1] == "real"


def test_only_the_two_content_headers_lose_their_prefix(wsgi: Running) -> None:
    environ = environ_of(wsgi, request_bytes("GET", "/environ", {"Content-Language": "de"}))
    assert environ["HTTP_CONTENT_LANGUAGE"][1] == "de" and "CONTENT_LANGUAGE" not in environ


def test_content_type_and_length_without_prefix(wsgi: Running) -> None:
    environ = environ_of(wsgi, request_bytes("POST", "/environ", {"Content-Type": "text/x; a=b"}, b"12345"))
    assert environ["CONTENT_TYPE"] == ["str", "text/x; a=b"]
    assert environ["CONTENT_LENGTH"] == ["str", "5"]
    assert "HTTP_CONTENT_TYPE" not in environ and "HTTP_CONTENT_LENGTH" not in environ


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH"])
def test_methods_pass_through(wsgi: Running, method: str) -> None:
    assert environ_of(wsgi, request_bytes(method, "/environ"))["REQUEST_METHOD"][1] == method


def test_http_1_0_protocol(wsgi: Running) -> None:
    environ = environ_of(wsgi, b"GET /environ HTTP/1.0\r\n\r\n")
    assert environ["SERVER_PROTOCOL"][1] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ


INPUT = b"one\ntwo\n\nlast without end"
OPERATIONS = {
    "read": ["one\ntwo\n\nlast without end"],
    "read:3,read:0,read:1,read": ["one", "", "\n", "two\n\nlast without end"],
    "read:1000,read,read:5": ["one\ntwo\n\nlast without end", "", ""],
    "read,readline,readlines,iter": ["one\ntwo\n\nlast without end", "", [], []],
    "readline,readline,readline,readline,readline": ["one\n", "two\n", "\n", "last without end", ""],
    "readline:2,readline:100,readline:0,readline": ["on", "e\n", "", "two\n"],
    "readlines": [["one\n", "two\n", "\n", "last without end"]],
    "iter": [["one\n", "two\n", "\n", "last without end"]],
    "readline,iter,read": ["one\n", ["two\n", "\n", "last without end"], ""],
    "read:-1": ["one\ntwo\n\nlast without end"],
    "read:5,readline,read:2,readlines": ["one\nt", "wo\n", "\nl", ["ast without end"]],
}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("operations", list(OPERATIONS))
def test_input_semantics(wsgi: Running, operations: str, framing: str) -> None:
    if framing == "length":
        request = request_bytes("POST", f"/input?ops={operations}", body=INPUT)
    else:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (INPUT[:2], INPUT[2:9], INPUT[9:]))
        request = request_bytes(
            "POST", f"/input?ops={operations}", {"Transfer-Encoding": "chunked"}, body + b"0\r\n\r\n"
        )
    assert list(environ_of(wsgi, request)) == OPERATIONS[operations]


@pytest.mark.parametrize("operations", ["read", "read:10", "readline", "readlines", "iter"])
def test_input_without_body_is_at_its_end(wsgi: Running, operations: str) -> None:
    assert environ_of(wsgi, request_bytes("GET", f"/input?ops={operations}"))[0] in ("", [])


def test_input_does_not_read_into_the_next_request(wsgi: Running) -> None:
    first = request_bytes("POST", "/input?ops=read:100,read", body=b"abc")
    with wsgi.connect() as connection:
        connection.send(first + request_bytes("GET", "/input?ops=read"))
        assert json.loads(connection.read_response().body) == ["abc", ""]
        assert json.loads(connection.read_response().body) == [""]


@pytest.mark.parametrize("method, body", [("GET", b""), ("POST", b"x=1"), ("HEAD", b"")])
def test_third_party_validator_is_content(wsgi: Running, method: str, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    response = wsgi.fetch("/validated?a=b", method, body=body, headers=headers)
    assert response.status == 200, wsgi.stderr()[-1500:]
    assert response.body == (b"" if method == "HEAD" else b"validated " + body)


def test_write_callable(wsgi: Running) -> None:
    response = wsgi.fetch("/write")
    assert (response.status, response.body) == (200, b"first second third")


def test_exc_info_replaces_headers_not_yet_sent(wsgi: Running) -> None:
    response = wsgi.fetch("/exc-info-before")
    assert (response.status, response.body) == (418, b"replaced")
    assert response.get("X-Second") == "yes" and response.get("X-First") is None


def test_exc_info_is_raised_again_once_headers_are_sent(wsgi: Running) -> None:
    with pytest.raises(Truncated) as caught:
        wsgi.fetch("/exc-info-after")
    assert caught.value.response.body == b"sent"
    wsgi.wait_for_event("exc_info re-raised")


def test_start_response_twice_without_exc_info_is_an_error(wsgi: Running) -> None:
    assert wsgi.fetch("/start-twice").status == 500


def test_close_is_called_after_the_response(wsgi: Running) -> None:
    assert wsgi.fetch("/close?tag=normal").body == b"onetwo"
    wsgi.wait_for_event("closed normal")


def test_close_is_called_when_the_client_leaves(wsgi: Running) -> None:
    with wsgi.connect() as connection:
        connection.send(request_bytes("GET", "/close-endless?tag=left"))
        assert connection.read_start().status == 200
    wsgi.wait_for_event("closed left")


def test_close_is_called_when_the_iterable_raises(wsgi: Running) -> None:
    with pytest.raises(Truncated):
        wsgi.fetch("/close-error?tag=error")
    wsgi.wait_for_event("closed error")


def test_close_is_called_once(wsgi: Running) -> None:
    wsgi.fetch("/close?tag=once")
    wsgi.fetch("/close?tag=fence")
    wsgi.wait_for_event("closed fence")
    assert wsgi.events().count("closed once") == 1


def test_close_that_raises_does_not_spoil_a_complete_response(wsgi: Running) -> None:
    before = wsgi.fetch("/pid").body
    assert wsgi.fetch("/close-raises").body == b"ok"
    assert wsgi.fetch("/pid").body == before


@pytest.mark.parametrize("route", ["lazy", "lazy-write"])
def test_first_chunk_arrives_before_the_application_ends(wsgi: Running, route: str, mode: str) -> None:
    name = f"go-{route}-{mode}"
    with wsgi.connect() as connection:
        connection.send(request_bytes("GET", f"/{route}?file={name}"))
        assert connection.read_start().status == 200
        assert connection.read_chunk() == b"first"
        (wsgi.events_path.parent / name).touch()
        assert connection.read_chunk() == b"second"
        assert connection.read_chunk() == b""


@pytest.mark.parametrize("seek, length", [(0, False), (0, True), (100, False)])
def test_file_wrapper(wsgi: Running, seek: int, length: bool) -> None:
    data = bytes(range(256)) * 1000
    (wsgi.events_path.parent / "data.bin").write_bytes(data)
    response = wsgi.fetch(f"/file?file=data.bin&seek={seek}" + ("&length=1" if length else ""))
    assert response.body == data[seek:]


def test_file_wrapper_of_an_empty_file(wsgi: Running) -> None:
    (wsgi.events_path.parent / "empty.bin").write_bytes(b"")
    assert wsgi.fetch("/file?file=empty.bin").body == b""


def test_file_wrapper_closes_an_object_that_is_no_file(wsgi: Running) -> None:
    count = wsgi.events().count("closed source")
    assert wsgi.fetch("/file-object").body == b"abcdef"
    wsgi.fetch("/close?tag=after-source")
    wsgi.wait_for_event("closed after-source")
    assert wsgi.events().count("closed source") == count + 1


def test_wsgi_errors_goes_to_the_log(wsgi: Running) -> None:
    assert wsgi.fetch("/errors").status == 200
    wsgi.wait_for_log("a line for wsgi.errors")
    wsgi.wait_for_log("and another")
