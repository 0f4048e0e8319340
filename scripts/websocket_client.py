"""A minimal WebSocket client (RFC 6455): text messages over plain TCP.

It is what the demonstration needs: opening handshake, text, ping, close. It
deliberately has no TLS, no extensions, no binary messages and no reassembly of
fragmented messages; a server that uses one of them gets a WebSocketError.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct

ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class WebSocketError(Exception):
    """The server did not do what RFC 6455 asks, or closed the connection."""


class WebSocket:
    """One open connection; raises OSError (TimeoutError after `timeout` seconds) from the socket."""

    def __init__(self, host: str, port: int, path: str, timeout: float = 10.0) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._stream = self._socket.makefile("rb")
        try:
            self._handshake(host, port, path)
        except BaseException:
            self.abort()
            raise

    def _handshake(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16))
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        status = self._stream.readline().decode("latin-1").rstrip()
        headers = {}
        while line := self._stream.readline().strip():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        if status.split(" ")[1:2] != ["101"]:
            raise WebSocketError(f"the handshake was answered with {status!r}")
        expected = base64.b64encode(hashlib.sha1(key + ACCEPT_SUFFIX).digest())
        if headers.get(b"sec-websocket-accept") != expected:
            raise WebSocketError("Sec-WebSocket-Accept does not match the key")

    def send(self, text: str) -> None:
        """Send one text message."""
        self._send_frame(TEXT, text.encode())

    def receive(self) -> str:
        """Wait for the next text message; pings are answered on the way."""
        while True:
            opcode, payload = self._receive_frame()
            if opcode == TEXT:
                return payload.decode()
            if opcode == PING:
                self._send_frame(PONG, payload)
            elif opcode == CLOSE:
                raise WebSocketError(f"the server closed the connection: {_close_code(payload)}")

    def close(self) -> int:
        """Close as section 7 asks; returns the code of the server's close frame (1005 if it had none)."""
        try:
            self._send_frame(CLOSE, struct.pack("!H", 1000))
            while True:
                opcode, payload = self._receive_frame()
                if opcode == CLOSE:
                    return _close_code(payload)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._stream.close()
        self._socket.close()

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        # A client must mask its frames with a fresh key (section 5.3).
        mask = os.urandom(4)
        if len(payload) < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload))
        elif len(payload) < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, len(payload))
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, len(payload))
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._socket.sendall(head + mask + masked)

    def _receive_frame(self) -> tuple[int, bytes]:
        first, second = self._read(2)
        if first & 0xF0 != 0x80 or second & 0x80 or first & 0x0F not in (TEXT, CLOSE, PING, PONG):
            raise WebSocketError(f"unexpected frame head {first:#04x} {second:#04x}")
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._read(8))
        return first & 0x0F, self._read(length)

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise WebSocketError("the connection was cut")
        return data


def _close_code(payload: bytes) -> int:
    return struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
