"""A raw HTTP/1 client for tests: it sends the bytes it is given and parses the answer strictly.

Ordinary clients repair what they send and forgive what they read, so they can neither send a malformed
request nor notice a malformed response. This one does no repair: a bare LF, a body that ends early or a
response with both Content-Length and Transfer-Encoding raises ProtocolError (RFC 9112).
It is deliberately not a general client: no TLS, no redirects, no cookies, no pooling.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3}) ([\t\x20-\x7e\x80-\xff]*)\Z")
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")


class ProtocolError(Exception):
    """The server sent something that RFC 9112 forbids."""


class Truncated(ProtocolError):
    """The connection ended before the message did. `.response` holds what had arrived."""

    def __init__(self, message: str, response: Response | None = None):
        super().__init__(message)
        self.response = response


@dataclass
class Response:
    """One parsed response; `chunks` is None unless the body was chunked."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] | None = None
    until_close: bool = False
    interim: list[Response] = field(default_factory=list)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str, default: str | None = None) -> str | None:
        """The one value of a header; a repeated header is an error of the test's expectation."""
        values = self.get_all(name)
        if len(values) > 1:
            raise ProtocolError(f"header {name} repeated: {values}")
        return values[0] if values else default

    @property
    def keeps_alive(self) -> bool:
        tokens = {token.strip().lower() for value in self.get_all("connection") for token in value.split(",")}
        if self.until_close or "close" in tokens:
            return False
        return self.version == "1.1" or "keep-alive" in tokens


class Connection:
    """One client connection. `address` is (host, port) or the path of a unix socket."""

    def __init__(
        self, address: tuple[str, int] | str, timeout: float = 10.0, receive_buffer: int | None = None
    ):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.buffer = bytearray()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Connection:
        self.sock.sendall(data)
        return self

    def send_tolerant(self, data: bytes) -> None:
        """Send, not minding that the server may already have closed: it may refuse before reading it all."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def end_of_input(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def is_closed(self, timeout: float = 5.0) -> bool:
        """True once the server has closed; False if still open after `timeout` s. Stray data raises."""
        if self.buffer:
            raise ProtocolError(f"bytes after the response: {bytes(self.buffer[:200])!r}")
        self.sock.settimeout(timeout)
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
        if data:
            raise ProtocolError(f"bytes after the response: {data[:200]!r}")
        return True

    def read_response(self, method: str = "GET") -> Response:
        """The next final response; 1xx responses before it are collected in `.interim` (101 is final)."""
        interim = []
        while True:
            response = self._read_head()
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        response.interim = interim
        if response.status != 101:
            self._read_body(response, method)
        return response

    def read_interim(self) -> Response:
        """The head of the next response, whatever its status, without its body."""
        return self._read_head()

    def read_start(self) -> Response:
        """The head of a final response, leaving its body for `read_chunk`."""
        response = self._read_head()
        while 100 <= response.status < 200:
            response = self._read_head()
        return response

    def read_chunk(self) -> bytes:
        """One chunk of a chunked body; b"" is the last one (its empty trailer section is read too)."""
        line = self._line()
        size_text = line.split(b";", 1)[0]
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", size_text):
            raise ProtocolError(f"bad chunk size line {line!r}")
        size = int(size_text, 16)
        if size == 0:
            while self._line():
                pass
            return b""
        data = self._exactly(size)
        if self._exactly(2) != b"\r\n":
            raise ProtocolError("no CRLF after chunk data")
        return data

    def _read_head(self) -> Response:
        line = self._line(first=True)
        match = STATUS_LINE.match(line)
        if match is None:
            raise ProtocolError(f"bad status line {line!r}")
        headers = []
        while True:
            line = self._line()
            if not line:
                break
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name) or not FIELD_VALUE.match(value):
                raise ProtocolError(f"bad header line {line!r}")
            headers.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
        minor, status, reason = match.groups()
        return Response(f"1.{minor.decode()}", int(status), reason.decode("latin-1"), headers)

    def _read_body(self, response: Response, method: str) -> None:
        lengths, encodings = response.get_all("content-length"), response.get_all("transfer-encoding")
        if lengths and encodings:
            raise ProtocolError(f"both Content-Length {lengths} and Transfer-Encoding {encodings}")
        if len(lengths) > 1:
            raise ProtocolError(f"Content-Length repeated: {lengths}")
        if response.status == 204 and (lengths or encodings):
            raise ProtocolError(
                f"204 with framing headers {lengths} {encodings} (RFC 9110 8.6, RFC 9112 6.1)"
            )
        if method == "HEAD" or response.status in (204, 304):
            return
        if encodings:
            if [value.lower() for value in encodings] != ["chunked"]:
                raise ProtocolError(f"unexpected Transfer-Encoding {encodings}")
            if response.version == "1.0":
                raise ProtocolError("Transfer-Encoding in an HTTP/1.0 response")
            self._read_chunks(response)
        elif lengths:
            if not re.fullmatch(r"[0-9]+", lengths[0]):
                raise ProtocolError(f"bad Content-Length {lengths[0]!r}")
            response.body = self._exactly(int(lengths[0]), response)
        else:
            response.until_close = True
            while self._more():
                pass
            response.body = bytes(self.buffer)
            self.buffer.clear()

    def _read_chunks(self, response: Response) -> None:
        response.chunks = []
        try:
            while chunk := self.read_chunk():
                response.chunks.append(chunk)
        except Truncated as error:
            response.body = b"".join(response.chunks)
            raise Truncated(str(error), response) from error
        response.body = b"".join(response.chunks)

    def _line(self, first: bool = False) -> bytes:
        while (end := self.buffer.find(b"\n")) < 0:
            if not self._more():
                what = "no response at all" if first and not self.buffer else "connection ended within a line"
                raise Truncated(f"{what}: {bytes(self.buffer[:200])!r}")
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise ProtocolError(f"line does not end in CRLF alone: {line!r}")
        return line[:-2]

    def _exactly(self, size: int, response: Response | None = None) -> bytes:
        while len(self.buffer) < size:
            if not self._more():
                if response is not None:
                    response.body = bytes(self.buffer)
                raise Truncated(f"body ended after {len(self.buffer)} of {size} bytes", response)
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def _more(self) -> bool:
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)


def request_bytes(
    method: str,
    target: str,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """A well-formed request; adds Host, and Content-Length when there is a body, unless given."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", "test.example"))
    if (
        "content-length" not in names
        and "transfer-encoding" not in names
        and (body or method in ("POST", "PUT", "PATCH"))
    ):
        pairs.append(("Content-Length", str(len(body))))
    head = f"{method} {target} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return head.encode("latin-1") + b"\r\n" + body


def fetch(
    address: tuple[str, int] | str,
    target: str,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    version: str = "1.1",
    timeout: float = 10.0,
) -> Response:
    """One request on a connection of its own."""
    with Connection(address, timeout=timeout) as connection:
        connection.send(request_bytes(method, target, headers, body, version))
        return connection.read_response(method)
