"""The demonstration's HTTP client: one keep-alive connection, cookies, checked answers.

Each request states what it expects; an answer that differs raises WrongAnswer.
Each one is printed on a line of its own. Standard library only; it follows no
redirect, because the redirect itself is something to check.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode


class WrongAnswer(Exception):
    """An answer was not the expected one; the text says which and how."""


@dataclass(frozen=True)
class Answer:
    """One complete answer; `arrivals` is the time of each line in milliseconds since the request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    arrivals: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """Sends requests to one host and checks and prints the answers."""

    def __init__(
        self, host: str, port: int, prefix: str = "", authority: str = "", timeout: float = 30.0
    ) -> None:
        """All paths are below `prefix`; `authority` is the name that the requests are for, if not `host`."""
        self.host, self.port, self.prefix, self.authority = host, port, prefix, authority
        self.milliseconds: list[float] = []
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        self._cookies: dict[str, str] = {}

    def get(self, path: str, **expected: Any) -> Answer:
        """GET; see `request` for what can be expected."""
        return self.request("GET", path, **expected)

    def post_form(self, path: str, fields: dict[str, str], **expected: Any) -> Answer:
        """POST a form as a browser does."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, urlencode(fields).encode(), headers, **expected)

    def post_json(self, path: str, value: Any, **expected: Any) -> Answer:
        """POST a value as JSON."""
        body = json.dumps(value).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json"}, **expected)

    def inside(self, location: str) -> str:
        """The path below the prefix of an address that the application has made."""
        if not location.startswith(self.prefix + "/"):
            raise WrongAnswer(f"the address {location!r} is not below {self.prefix!r}")
        return location[len(self.prefix) :]

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        status: int = 200,
        contains: str = "",
        location: str | None = None,
        content_type: str = "",
    ) -> Answer:
        """Send one request and compare the answer with what is expected; `location` is below the prefix too."""
        path = self.prefix + path
        headers = dict(headers or {})
        if self.authority:
            headers["Host"] = self.authority
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        started = time.monotonic()
        answer = self._exchange(method, path, body, headers, started)
        self.milliseconds.append((time.monotonic() - started) * 1000)
        for line in answer.headers.get_all("Set-Cookie", []):
            self._keep_cookies(line)
        word = contains or answer.headers.get("Location") or answer.text[:60]
        self.print_line(method, path, str(answer.status), len(answer.body), word)
        location = location if location is None else self.prefix + location
        problems = _differences(answer, status, contains, location, content_type)
        if problems:
            raise WrongAnswer(f"{method} {path}: {'; '.join(problems)}\n{answer.text[:2000]}")
        return answer

    def print_line(self, method: str, path: str, status: str, size: int, word: str) -> None:
        """Print one exchange; its duration is the last of `milliseconds`."""
        word = " ".join(word.split())[:56]
        print(f"  {method:<5} {path:<32} {status:>3} {size:>9,} B {self.milliseconds[-1]:>8.1f} ms  {word}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], started: float
    ) -> Answer:
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            lines, arrivals = [], []
            # Line by line and not at once, so that a streamed answer shows when each part came.
            while line := response.readline():
                lines.append(line)
                arrivals.append((time.monotonic() - started) * 1000)
            response.read()  # Nothing is left, but older versions end the exchange only here.
        except (OSError, http.client.HTTPException) as error:
            raise WrongAnswer(f"{method} {path}: no answer: {error!r}") from error
        return Answer(response.status, response.headers, b"".join(lines), arrivals)

    def _keep_cookies(self, line: str) -> None:
        for name, morsel in SimpleCookie(line).items():
            if morsel["max-age"] == "0" or not morsel.value:
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = morsel.coded_value


def _differences(
    answer: Answer, status: int, contains: str, location: str | None, content_type: str
) -> list[str]:
    found = []
    if answer.status != status:
        found.append(f"status {answer.status} instead of {status}")
    if contains not in answer.text:
        found.append(f"{contains!r} is not in the answer")
    if location is not None and answer.headers.get("Location") != location:
        found.append(f"Location {answer.headers.get('Location')!r} instead of {location!r}")
    if not answer.headers.get("Content-Type", "").startswith(content_type):
        found.append(f"Content-Type {answer.headers.get('Content-Type')!r} instead of {content_type!r}")
    return found
