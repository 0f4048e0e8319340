"""Applications that are found, and applications that cannot be served: what the router is told."""

from __future__ import annotations

from pathlib import Path

import frames
import pytest
from frames import Reader
from harness import HERE, PATIENCE

BROKEN = HERE / "apps/broken"

# Settings, interface of Hello (0 WSGI, 1 ASGI).
FOUND = [
    ({"app": "shapes"}, 0),
    ({"app": "shapes:wsgi_function"}, 0), ({"app": "shapes:wsgi_object"}, 0), ({"app": "shapes:wsgi_method"}, 0),
    ({"app": "shapes:wsgi_partial"}, 0), ({"app": "shapes:WsgiClass"}, 0), ({"app": "shapes:wsgi_wrapped"}, 0),
    ({"app": "shapes:holder.inner"}, 0),
    ({"app": "shapes:wsgi_vague", "interface": "wsgi"}, 0),
    ({"app": "shapes:asgi_function"}, 1), ({"app": "shapes:asgi_object"}, 1), ({"app": "shapes:asgi_method"}, 1),
    ({"app": "shapes:asgi_partial"}, 1), ({"app": "shapes:asgi_plain"}, 1), ({"app": "shapes:asgi_wrapped"}, 1),
    ({"app": "shapes:asgi_vague", "interface": "asgi"}, 1),
    ({"app": "shapes:create_app()"}, 1), ({"app": "shapes:create_app", "factory": True}, 1),
    ({"app": "shapes:create_app('wsgi', plain=True)"}, 0),
    ({"app": "only_factory"}, 0), ({"app": "only_factory", "factory": True}, 0),
]

# Settings, parts of the message, part of the traceback ("" means that there is none).
REFUSED = [
    ({"app": "no_such_module"}, ["module no_such_module was not found in", "check the name"], ""),
    ({"app": "shape:app"}, ["module shape was not found in", "did you mean shapes?"], ""),
    ({"app": "package.modul:app"}, ["module package.modul was not found", "did you mean package.module?"], ""),
    ({"app": "imports_missing"}, ["imports no_such_library", "install it in this interpreter's environment: "],
     "import no_such_library"),
    ({"app": "syntax"}, ["module syntax does not compile", "syntax.py:3"], "SyntaxError"),
    ({"app": "raises:app"}, ["module raises raised ZeroDivisionError: division by zero"], "in boom"),
    ({"app": "exits"}, ["module exits called sys.exit(4)"], "sys.exit"),
    ({"app": "shapes:asgi_functio"}, ["no attribute asgi_functio", "did you mean asgi_function"], ""),
    ({"app": "shapes:zzz"}, ["module shapes has no attribute zzz", "check the name after the colon"], ""),
    ({"app": "shapes:number"}, ["shapes:number is an object of type int, which cannot be called"], ""),
    ({"app": "nothing_here"}, ["module nothing_here has no application or app"], ""),
    ({"app": "shapes:wsgi_vague"}, ["cannot tell whether", "--interface"], ""),
    ({"app": "shapes:Asgi2"}, ["ASGI 2"], ""),
    ({"app": "shapes:one_argument"}, ["takes one argument"], ""),
    ({"app": "shapes:create_app"}, ["if it is a factory use --factory or shapes:create_app()"], ""),
    ({"app": "shapes:returns_none()"}, ["returned None"], ""),
    ({"app": "shapes:fails()"}, ["factory shapes:fails() raised KeyError: 'SECRET'"], "in fails"),
    ({"app": "shapes:create_app(1, 2, 3, 4)"}, ["cannot be called so: too many positional arguments"], ""),
    ({"app": "shapes:create_app(x)"}, ["must be literals"], ""),
    ({"app": "shapes:number", "factory": True}, ["not a factory"], ""),
    ({"app": "shapes:1+1"}, ["neither an attribute nor a call"], ""),
    ({"app": "not a module"}, ["is not a module name"], ""),
    ({"app": "shapes", "concurrency": "async"}, ["a WSGI application cannot run with --concurrency async"], ""),
    ({"app": "shapes:asgi_function", "concurrency": "sync"},
     ["an ASGI application cannot run with --concurrency sync"], ""),
]


def name(settings: dict) -> str:
    return "-".join(str(value) for value in settings.values())


@pytest.mark.ends
@pytest.mark.parametrize("settings,interface", FOUND, ids=[name(settings) for settings, _ in FOUND])
def test_found(start, settings: dict, interface: int) -> None:
    settings = dict(settings)
    with start(settings.pop("app"), directory=BROKEN, lifespan="off", **settings) as worker:
        worker.ready()
        assert worker.hello.payload[2] == interface
        if "vague" not in name(settings):
            assert worker.get("/").body == b"ok"
        assert worker.finish() == 0


@pytest.mark.ends
@pytest.mark.parametrize("settings,parts,trace", REFUSED, ids=[name(settings) for settings, _, _ in REFUSED])
def test_refused(start, python: str, settings: dict, parts: list[str], trace: str) -> None:
    settings = dict(settings)
    with start(settings.pop("app"), directory=BROKEN, **settings) as worker:
        reader = Reader(worker.control_message(frames.BOOT_FAILED).payload)
        message, found = reader.text().decode(), reader.text().decode()
        assert "\n" not in message
        for part in parts:
            assert part in message, message
        assert (trace in found) if trace else not found, found
        assert "loading.py" not in found, "our own frames are of no use to the application's author"
        assert worker.process.wait(PATIENCE) == 3
        assert not worker.orders, "neither hello nor ready after a failure"


@pytest.mark.ends
def test_a_worker_without_all_its_threads_is_not_ready(start) -> None:
    with start("few_threads", directory=BROKEN, concurrency="threads", threads=4) as worker:
        reader = Reader(worker.control_message(frames.BOOT_FAILED).payload)
        message = reader.text().decode()
        assert "cannot start thread 3 of 4 (can't start new thread): limits.processes counts threads too" in message
        assert not [order for order in worker.orders if order.kind == frames.READY]


@pytest.mark.once
def test_missing_uvloop_is_named(start, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('none here')\n")
    (tmp_path / "shop.py").write_text("async def app(scope, receive, send): pass\n")
    with start("shop", directory=tmp_path, loop="uvloop") as worker:
        assert b"--loop uvloop needs uvloop" in worker.control_message(frames.BOOT_FAILED).payload
