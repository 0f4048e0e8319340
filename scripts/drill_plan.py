"""What the big drill serves and how it edits the file: ten applications, and a cycle of changes. Pure: no I/O.

Four applications are routed by host, six by path prefix; Flask, Django, FastAPI, plain WSGI and plain ASGI over three
interpreters. Each answers with its MARK from the environment, so that a change of it can be seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import toml_text
from drill_load import Target

SCALED = "wsgi-plain"
SLEEPER = "wsgi-sleeper"
KILLED = ("flask-host", "asgi-plain", "fastapi-path")
SLEEPER_IDLE = "5s"
GUESTS = ("guest-0", "guest-1")


@dataclass
class Edit:
    """One new version of the file, and what must come of it."""

    title: str
    text: str
    # "applied", "refused" (errors in the file) or "failed" (an application does not start).
    expected: str = "applied"
    # What the answer must contain, where it is not applied.
    mentions: tuple[str, ...] = ()
    marks: dict[str, int] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Plan:
    """The file as it is meant to be, and the next versions of it."""

    def __init__(self, host: dict[str, Any], folder: Path, pythons: list[Path]) -> None:
        """`folder`: where the applications' modules are. `pythons`: three, or fewer used in turn."""
        self.host = host
        self.pythons = [str(pythons[number % len(pythons)]) for number in range(3)]
        self.folder = str(folder)
        self.apps: dict[str, dict[str, Any]] = {}
        self.targets: list[Target] = []
        old, middle, new = self.pythons
        sleeper = {"min": 0, "max": 2, "idle": SLEEPER_IDLE}
        self._app("flask-host", "flask_app:app", old, 2, "flask.example.com")
        self._app("django-host", "django_app:app", middle, 2, "django.example.com")
        self._app("fastapi-host", "fastapi_app:app", new, 1, "fastapi.example.com")
        self._app("asgi-wild", "plain:asgi", middle, 1, "*.wild.example.com")
        self._app("flask-path", "flask_app:app", new, 1, "/flask", concurrency="threads", threads=4)
        self._app("django-path", "django_app:asgi", old, 1, "/django")
        self._app("fastapi-path", "fastapi_app:app", middle, 2, "/api/fast")
        self._app("asgi-plain", "plain:asgi", new, 2, "/async")
        self._app(SCALED, "plain:app", old, 1, "/plain")
        self._app(SLEEPER, "plain:app", middle, sleeper, "/sleeper")
        self.first_apps = tuple(self.apps)
        for number, guest in enumerate(GUESTS):
            self.targets.append(Target(guest, "guests.example.com", f"/{guest}", posts=True, clients=1 + number))

    def text(self) -> str:
        """The file."""
        return toml_text.document(self.host, self.apps)

    def edits(self, count: int) -> list[Callable[[], Edit]]:
        """So many edits, each to be made when its turn comes. The first six have every kind of outcome."""
        cycle = [
            self._mark_one,
            self._add_guest,
            self._break_file,
            self._break_app,
            self._remove_guest,
            self._mark_all,
            self._change_workers,
            self._change_limits,
            self._change_python,
            self._everything_at_once,
        ]
        return [cycle[number % len(cycle)] for number in range(count)]

    # ---- the kinds of edits ----

    def _mark_one(self) -> Edit:
        name = "django-host"
        return self._applied("a variable of one application changes", marks=self._raise_marks(name))

    def _mark_all(self) -> Edit:
        # The one that is being scaled keeps its workers to itself; guests come and go.
        names = [name for name in self.apps if name != SCALED]
        return self._applied("a variable of all applications changes", marks=self._raise_marks(*names))

    def _add_guest(self) -> Edit:
        guest = next(name for name in GUESTS if name not in self.apps)
        self.apps[guest] = self._guest(guest)
        return self._applied("an application is added", added=(guest,))

    def _remove_guest(self) -> Edit:
        guest = next(name for name in GUESTS if name in self.apps)
        del self.apps[guest]
        return self._applied("an application is removed", removed=(guest,))

    def _change_workers(self) -> Edit:
        app = self.apps["flask-host"]
        app["workers"] = 3 if app["workers"] == 2 else 2
        return self._applied(f"flask-host gets {app['workers']} workers")

    def _change_limits(self) -> Edit:
        limits = self.apps["asgi-wild"]["limits"]
        limits["queue"] = 300 - limits["queue"]
        limits["request_timeout"] = "25s" if limits["queue"] == 200 else "30s"
        return self._applied(f"asgi-wild gets queue = {limits['queue']} and another request_timeout")

    def _change_python(self) -> Edit:
        name = "asgi-plain"
        app = self.apps[name]
        place = self.pythons.index(app["python"])
        app["python"] = self.pythons[(place + 1) % len(self.pythons)]
        return self._applied(f"{name} moves to another interpreter", marks=self._raise_marks(name))

    def _everything_at_once(self) -> Edit:
        present = next((name for name in GUESTS if name in self.apps), None)
        absent = next(name for name in GUESTS if name != present)
        if present:
            del self.apps[present]
        self.apps[absent] = self._guest(absent)
        marks = self._raise_marks("fastapi-host", "django-path", "flask-path")
        removed = (present,) if present else ()
        return self._applied("one added, three changed, perhaps one removed", marks, (absent,), removed)

    def _break_file(self) -> Edit:
        text = self.text().replace("[apps.django-host]\n", "[apps.django-host]\nworkerz = 3\n", 1)
        line = text[: text.index("workerz")].count("\n") + 1
        return Edit("the file has an error", text, "refused", ("workerz", str(line)))

    def _break_app(self) -> Edit:
        name = "flask-path"
        whole = self.apps[name]
        broken = {**whole, "app": "bad:app", "env": {**whole["env"], "HOW": "import"}}
        text = toml_text.document(self.host, {**self.apps, name: broken})
        return Edit("an application is broken", text, "failed", (name, "broken on purpose", "Traceback"))

    # ---- helpers ----

    def _applied(
        self,
        title: str,
        marks: dict[str, int] | None = None,
        added: tuple[str, ...] = (),
        removed: tuple[str, ...] = (),
    ) -> Edit:
        return Edit(title, self.text(), marks=marks or {}, added=added, removed=removed)

    def _raise_marks(self, *names: str) -> dict[str, int]:
        marks = {}
        for name in names:
            variables = self.apps[name]["env"]
            marks[name] = int(variables["MARK"]) + 1
            variables["MARK"] = str(marks[name])
        return marks

    def _guest(self, name: str) -> dict[str, Any]:
        route = f"guests.example.com/{name}"
        return self._values(name, "plain:app", self.pythons[0], 1, route)

    def _values(self, name: str, app: str, python: str, workers: Any, route: str, **more: Any) -> dict[str, Any]:
        return {
            "app": app,
            "directory": self.folder,
            "python": python,
            "routes": [route],
            "workers": workers,
            "env": {"NAME": name, "MARK": "1"},
            "limits": {"queue": 100},
            **more,
        }

    def _app(self, name: str, app: str, python: str, workers: Any, route: str, **more: Any) -> None:
        self.apps[name] = self._values(name, app, python, workers, route, **more)
        host, slash, prefix = route.partition("/")
        host = host.replace("*", "any.name") or "127.0.0.1"
        posts = name not in KILLED
        self.targets.append(Target(name, host, slash + prefix, posts=posts))
