"""WebSocket over ASGI, against a real client library and, where that is too polite, raw frames (RFC 6455)."""

from __future__ import annotations

import base64
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Running
from rawhttp import Connection, request_bytes
from servers import memory, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.asgi
MIB = 1024 * 1024


def open_socket(server: Running, target: str, **options: object) -> ClientConnection:
    options.setdefault("compression", None)
    return connect(
        server.websocket_url + target,
        open_timeout=5,
        close_timeout=5,
        max_size=64 * MIB,
        proxy=None,
        **options,
    )


def closing_of(socket: ClientConnection) -> tuple[int, str]:
    """Read until the server closes: (code, reason)."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            socket.recv(timeout=5)
    return (caught.value.rcvd.code, caught.value.rcvd.reason) if caught.value.rcvd else (1006, "")


def test_scope(asgi: Running) -> None:
    with open_socket(
        asgi, "/ws/scope?x=%20", subprotocols=["a", "b"], origin="http://site.example"
    ) as socket:
        scope = json.loads(socket.recv(timeout=5))
    assert scope["type"] == "websocket" and scope["scheme"] == "ws" and scope["http_version"] == "1.1"
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/ws/scope", "/ws/scope", "x=%20")
    assert scope["subprotocols"] == ["a", "b"] and scope["state"] == "value" and scope["root_path"] == ""
    assert scope["client"][0] == "127.0.0.1" and scope["server"] == list(asgi.address)
    assert ["origin", "http://site.example"] in scope["headers"]
    assert not scope["has method"] and scope["asgi"]["version"] == "3.0"
    assert "websocket.http.response" in scope["extensions"]


@pytest.mark.parametrize("message", ["", "text", "\u20ac \U0001f40d", b"", b"\x00\xff binary"], ids=repr)
def test_echo(asgi: Running, message: str | bytes) -> None:
    with open_socket(asgi, "/ws/echo") as socket:
        socket.send(message)
        assert socket.recv(timeout=5) == message


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, MIB])
def test_sizes(asgi: Running, size: int) -> None:
    """The length has three encodings (RFC 6455 5.2): both sides of each border."""
    data = os.urandom(size)
    with open_socket(asgi, "/ws/echo") as socket:
        socket.send(data)
        assert socket.recv(timeout=10) == data
        socket.send("t" * size)
        assert socket.recv(timeout=10) == "t" * size


def test_fragmented_message_arrives_whole(asgi: Running) -> None:
    with open_socket(asgi, "/ws/echo") as socket:
        socket.send(iter(["one ", "two ", "", "three"]))
        assert socket.recv(timeout=5) == "one two three"
        socket.send(iter([b"\x01", b"\x02"]))
        assert socket.recv(timeout=5) == b"\x01\x02"


def test_compression_is_offered_without_harm(asgi: Running) -> None:
    with open_socket(asgi, "/ws/echo", compression="deflate") as socket:
        socket.send("z" * 10_000)
        assert socket.recv(timeout=5) == "z" * 10_000


def test_ping_is_answered(asgi: Running) -> None:
    with open_socket(asgi, "/ws/echo") as socket:
        assert socket.ping(b"are you there").wait(5)
        socket.send("still")
        assert socket.recv(timeout=5) == "still"


def test_subprotocol_and_headers_of_accept(asgi: Running) -> None:
    with open_socket(asgi, "/ws/subprotocol", subprotocols=["first", "second"]) as socket:
        assert socket.subprotocol == "second"
        headers = socket.response.headers
        assert headers["x-accepted"] == "yes" and headers.get_all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    "code, reason", [(1000, ""), (1001, "going"), (3000, "registered"), (4999, "caf\u00e9")]
)
def test_server_closes_with_code_and_reason(asgi: Running, code: int, reason: str) -> None:
    with open_socket(asgi, f"/ws/close?code={code}&reason={reason}") as socket:
        assert closing_of(socket) == (code, reason)


@pytest.mark.parametrize("code", [1000, 1001, 3001, 4001])
def test_client_closes_with_code(asgi: Running, code: int) -> None:
    count = len(asgi.events())
    with open_socket(asgi, "/ws/echo") as socket:
        socket.close(code, "bye")
        assert socket.close_code == code, "the close frame is echoed"
    wait_until(
        lambda: [line for line in asgi.events()[count:] if line.startswith(f"disconnect {code}")],
        5,
        "disconnect",
    )


def test_client_vanishes(asgi: Running) -> None:
    count = len(asgi.events())
    raw, _ = raw_socket(asgi, "/ws/echo")
    raw.close()
    wait_until(
        lambda: [
            line
            for line in asgi.events()[count:]
            if line.split()[:2] in (["disconnect", "1006"], ["disconnect", "1005"])
        ],
        5,
        "disconnect",
    )


def test_reject_before_accept_is_403(asgi: Running) -> None:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(asgi, "/ws/reject")
    assert caught.value.response.status_code == 403


def test_denial_response(asgi: Running) -> None:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(asgi, "/ws/denial")
    response = caught.value.response
    assert (response.status_code, response.headers["x-why"], response.body) == (401, "no ticket", b"no entry")


@pytest.mark.parametrize("route", ["raise-before", "return-before", "send-before-accept"])
def test_failure_before_accept_is_500(asgi: Running, route: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(asgi, f"/ws/{route}")
    assert caught.value.response.status_code == 500
    assert b"Traceback" not in (caught.value.response.body or b"")


def test_exception_after_accept_closes_with_1011(asgi: Running) -> None:
    with open_socket(asgi, "/ws/raise-after") as socket:
        assert closing_of(socket)[0] == 1011
    asgi.wait_for_log("RuntimeError: raised after accept")


def test_return_after_accept_closes(asgi: Running) -> None:
    with open_socket(asgi, "/ws/return-after") as socket:
        assert closing_of(socket)[0] in (1000, 1006, 1011, 1012)


def test_thousand_messages_pushed_in_order(asgi: Running) -> None:
    with open_socket(asgi, "/ws/push") as socket:
        assert [socket.recv(timeout=5) for _ in range(1000)] == [str(number) for number in range(1000)]
        assert closing_of(socket)[0] == 4002


def test_both_directions_at_once(asgi: Running) -> None:
    with open_socket(asgi, "/ws/both-ways") as socket:
        for _ in range(50):
            socket.send("x")
        messages = [socket.recv(timeout=5) for _ in range(51)]
    assert messages[-1] == "received 50"
    assert messages[:-1] == [f"tick {number}" for number in range(50)]


def test_many_sockets_on_one_worker(asgi: Running) -> None:
    def talk(number: int) -> bool:
        with open_socket(asgi, "/ws/echo") as socket:
            for turn in range(5):
                socket.send(f"{number}-{turn}")
                if socket.recv(timeout=10) != f"{number}-{turn}":
                    return False
        return True

    with ThreadPoolExecutor(30) as pool:
        assert all(pool.map(talk, range(60)))


def test_client_that_does_not_read_bounds_the_memory(asgi: Running) -> None:
    """250 MiB are sent to a client that reads nothing; then it leaves, and the application ends."""
    base = sum(memory(pid) for pid in asgi.all_pids())
    ended = asgi.events().count("flood ended")
    raw, _ = raw_socket(asgi, "/ws/flood", receive_buffer=65536)
    peak = [base]

    def sample_until_steady() -> bool:
        peak.append(sum(memory(pid) for pid in asgi.all_pids()))
        return len(peak) > 60

    wait_until(sample_until_steady, 10, "samples")
    assert max(peak) - base < 48 * MIB
    assert asgi.events().count("flood ended") == ended, "the application must be made to wait"
    raw.close()
    wait_until(
        lambda: asgi.events().count("flood ended") > ended, 10, "application ends once the client left"
    )


def raw_socket(server: Running, target: str, **options: object) -> tuple[Connection, str]:
    """A socket after its handshake, in raw bytes, with the accept key checked."""
    key = base64.b64encode(os.urandom(16)).decode()
    raw = server.connect(**options)
    raw.send(
        request_bytes(
            "GET",
            target,
            {
                "Connection": "keep-alive, Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": key,
            },
        )
    )
    response = raw.read_response()
    assert response.status == 101 and response.get("Upgrade").lower() == "websocket"
    assert "upgrade" in response.get("Connection").lower()
    return raw, key


def frame(opcode: int, payload: bytes, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    if len(payload) < 126:
        head += bytes([(0x80 if masked else 0) | len(payload)])
    else:
        head += bytes([(0x80 if masked else 0) | 126]) + struct.pack("!H", len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def read_frame(raw: Connection) -> tuple[int, bytes]:
    first, second = raw._exactly(2)
    assert not second & 0x80, "a server must not mask (RFC 6455 5.1)"
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", raw._exactly(2))
    return first & 0x0F, raw._exactly(length)


VIOLATIONS = {
    "unmasked": (frame(1, b"hi", masked=False), {1002}),
    "reserved bit": (frame(1, b"hi", reserved=0x40), {1002}),
    "unknown opcode": (frame(3, b"hi"), {1002}),
    "continuation of nothing": (frame(0, b"hi"), {1002}),
    "text within a fragmented text": (frame(1, b"a", fin=False) + frame(1, b"b"), {1002}),
    "fragmented ping": (frame(9, b"a", fin=False), {1002}),
    "ping too long": (frame(9, b"a" * 126), {1002}),
    "text not utf-8": (frame(1, b"\xff\xfe"), {1007}),
    "close code of one byte": (frame(8, b"\x03"), {1002}),
    "reserved close code": (frame(8, struct.pack("!H", 1005)), {1002}),
}


@pytest.mark.parametrize("case", list(VIOLATIONS))
def test_protocol_violation_closes_with_its_code(asgi: Running, case: str) -> None:
    sent, codes = VIOLATIONS[case]
    raw, _ = raw_socket(asgi, "/ws/echo", timeout=5)
    with raw:
        opcode, payload = raw.send(sent) and read_frame(raw)
        assert opcode == 8 and struct.unpack("!H", payload[:2])[0] in codes
        raw.send_tolerant(frame(8, payload[:2]))
        assert raw.is_closed()


def test_raw_ping_between_fragments(asgi: Running) -> None:
    raw, _ = raw_socket(asgi, "/ws/echo", timeout=5)
    with raw:
        raw.send(frame(1, b"one ", fin=False) + frame(9, b"ping") + frame(0, b"two"))
        assert sorted([read_frame(raw), read_frame(raw)]) == [(1, b"one two"), (10, b"ping")]


def test_first_frame_in_the_same_packet_as_the_handshake(asgi: Running) -> None:
    with asgi.connect(timeout=5) as raw:
        raw.send(
            request_bytes(
                "GET",
                "/ws/echo",
                {
                    "Connection": "Upgrade",
                    "Upgrade": "websocket",
                    "Sec-WebSocket-Version": "13",
                    "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(),
                },
            )
            + frame(1, b"early")
        )
        assert raw.read_response().status == 101
        assert read_frame(raw) == (1, b"early")


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDAwMDAwMDAwMDAwMDAwMA==",
}


@pytest.mark.parametrize(
    "change, statuses",
    [
        ({"Sec-WebSocket-Key": None}, {400}),
        ({"Sec-WebSocket-Key": "short"}, {400}),
        ({"Sec-WebSocket-Version": "12"}, {400, 426}),
        ({"Sec-WebSocket-Version": None}, {400, 426}),
    ],
    ids=["no key", "bad key", "old version", "no version"],
)
def test_bad_handshake_is_refused(asgi: Running, change: dict[str, str | None], statuses: set[int]) -> None:
    headers = {name: value for name, value in {**HANDSHAKE, **change}.items() if value is not None}
    assert asgi.fetch("/ws/echo", headers=headers, timeout=5).status in statuses


def test_upgrade_to_something_unknown_is_ordinary_http(asgi: Running) -> None:
    response = asgi.fetch("/pid", headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    assert response.status == 200
