"""Import an application and find out what it is.

Everything that can be wrong with an application before its first request ends in a BootError, whose message is one
line for people: what failed, where, and what to do about it. Runs once at start; nothing here is on the request path.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from types import ModuleType

TYPE_CHECKING = False  # the module typing needs 1 MiB, for annotations that nobody evaluates
if TYPE_CHECKING:
    from typing import Any, Callable

ATTRIBUTES = ("application", "app")
FACTORIES = ("create_app", "make_app")
LONGEST_TRACEBACK = 32 * 1024


class BootError(Exception):
    """The application cannot be served. `trace` is its own traceback, or empty."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def load(target: str, factory: bool, interface: str, concurrency: str, threads: int) -> tuple[Any, str, str]:
    """Import `target` (`module`, `module:attribute` or `module:factory()`).

    Returns the callable, its interface ("wsgi" or "asgi") and the concurrency to run it with.
    """
    module_name, _, expression = target.partition(":")
    module = import_module(module_name)
    app = find(module, expression, factory)
    if not callable(app):
        raise BootError(f"{target} is {describe(app)}, which cannot be called: name a WSGI or ASGI application")
    if interface == "auto":
        interface = detect(app, target)
    return app, interface, choose_concurrency(interface, concurrency, threads)


def choose_concurrency(interface: str, concurrency: str, threads: int) -> str:
    if concurrency == "auto":
        if interface == "asgi":
            return "async"
        return "threads" if threads > 1 else "sync"
    if interface == "wsgi" and concurrency == "async":
        raise BootError("a WSGI application cannot run with --concurrency async: use sync or threads")
    if interface == "asgi" and concurrency != "async":
        raise BootError(f"an ASGI application cannot run with --concurrency {concurrency}: use async")
    return concurrency


def trace_of(error: BaseException) -> str:
    """The traceback without the frames of this file and of the import machinery above the application."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        name = tb.tb_frame.f_code.co_filename
        if name != __file__ and not name.startswith("<frozen importlib") and "importlib/__init__" not in name:
            break
        tb = tb.tb_next
    text = "".join(traceback.format_exception(type(error), error, tb))
    return text[-LONGEST_TRACEBACK:]


def import_module(name: str) -> ModuleType:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise BootError(f"{name!r} is not a module name: use module, module:attribute or module:factory()")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            raise BootError(not_found(name, missing)) from None
        raise BootError(missing_import(name, missing), trace_of(error)) from None
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}"
        raise BootError(f"module {name} does not compile: {where}: {error.msg}", trace_of(error)) from None
    except SystemExit as error:
        raise BootError(
            f"module {name} called sys.exit({error.code!r}) while it was imported: guard scripts with"
            ' if __name__ == "__main__"',
            trace_of(error),
        ) from None
    except BaseException as error:
        raise BootError(f"module {name} raised {one_line(error)} while it was imported", trace_of(error)) from None


def not_found(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    where = os.getcwd()
    if parent:
        where = next(iter(getattr(sys.modules.get(parent), "__path__", [])), where)
    message = f"module {missing} was not found in {where}"
    close = closest(last, modules_in(where))
    if close:
        return message + f": did you mean {parent + '.' if parent else ''}{close}?"
    return message + ": check the name and the directory (--chdir)"


def missing_import(name: str, missing: str) -> str:
    top = missing.partition(".")[0]
    message = f"module {name} imports {missing}, which was not found"
    if top in modules_in(os.getcwd()):
        return message
    return message + f": install it in this interpreter's environment: {sys.executable}"


def closest(name: str, known: list[str]) -> str | None:
    import difflib  # not needed by a worker that starts, which is nearly every one

    return next(iter(difflib.get_close_matches(name, known, 1)), None)


def modules_in(directory: str) -> list[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return []
    return [
        entry.name.partition(".")[0]
        for entry in entries
        if entry.name.endswith(".py") or (entry.is_dir() and entry.name.isidentifier())
    ]


def find(module: ModuleType, expression: str, factory: bool) -> Any:
    if not expression:
        return find_default(module, factory)
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise BootError(f"{expression!r} is neither an attribute nor a call such as create_app()") from None
    if isinstance(node, ast.Call):
        return call_expression(module, node, expression)
    found = attribute(module, node, expression)
    return call_factory(found, f"{module.__name__}:{expression}") if factory else found


def find_default(module: ModuleType, factory: bool) -> Any:
    names = FACTORIES if factory else ATTRIBUTES
    for name in names:
        if hasattr(module, name):
            found = getattr(module, name)
            return call_factory(found, f"{module.__name__}:{name}") if factory else found
    for name in FACTORIES:
        if callable(getattr(module, name, None)):
            return call_factory(getattr(module, name), f"{module.__name__}:{name}")
    tried = " or ".join(names if factory else ATTRIBUTES + tuple(f"{name}()" for name in FACTORIES))
    raise BootError(f"module {module.__name__} has no {tried}: say which attribute it is, as {module.__name__}:NAME")


def attribute(module: ModuleType, node: ast.expr, expression: str) -> Any:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise BootError(f"{expression!r} is neither an attribute nor a call such as create_app()")
    found: Any = module
    for name in [node.id, *reversed(names)]:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise BootError(missing_attribute(module, found, name)) from None
    return found


def missing_attribute(module: ModuleType, owner: Any, name: str) -> str:
    what = f"module {module.__name__}" if owner is module else describe(owner)
    message = f"{what} has no attribute {name}"
    close = closest(name, [known for known in dir(owner) if not known.startswith("_")])
    return message + f": did you mean {close}?" if close else message + ": check the name after the colon"


def call_expression(module: ModuleType, node: ast.Call, expression: str) -> Any:
    try:
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in node.keywords}
    except ValueError:
        raise BootError(f"the arguments in {expression!r} must be literals") from None
    found = attribute(module, node.func, expression)
    return call_factory(found, f"{module.__name__}:{expression}", *args, **kwargs)


def call_factory(factory: Callable[..., Any], target: str, *args: Any, **kwargs: Any) -> Any:
    if not callable(factory):
        raise BootError(f"{target} is {describe(factory)}, not a factory: leave out the call or --factory")
    try:
        inspect.signature(factory).bind(*args, **kwargs)
    except TypeError as error:
        raise BootError(f"factory {target} cannot be called so: {error}") from None
    except ValueError:
        pass  # a builtin without a signature
    try:
        app = factory(*args, **kwargs)
    except SystemExit as error:
        raise BootError(f"factory {target} called sys.exit({error.code!r})", trace_of(error)) from None
    except BaseException as error:
        raise BootError(f"factory {target} raised {one_line(error)}", trace_of(error)) from None
    if app is None:
        raise BootError(f"factory {target} returned None: it must return the application")
    return app


def detect(app: Any, target: str) -> str:
    """ "wsgi" or "asgi", from the shape of the callable."""
    inner = app
    while isinstance(inner, functools.partial):
        inner = inner.func
    if is_coroutine(inner) or (not isinstance(inner, type) and is_coroutine(getattr(inner, "__call__", None))):
        return "asgi"
    required, most = positional(app)
    if isinstance(inner, type) and required == 1 and is_coroutine(getattr(inner, "__call__", None)):
        raise BootError(f"{target} is an ASGI 2 application (a class that takes the scope alone): make it ASGI 3")
    if required == most == 1:
        raise BootError(
            f"{target} takes one argument, so it is neither WSGI (environ, start_response) nor ASGI 3 (scope, receive,"
            " send): an ASGI 2 application must be made ASGI 3"
        )
    if required == 2 and most is not None and most >= 2:
        return "wsgi"
    if required == 3 and most == 3:
        return "asgi"
    if required == 0:
        raise BootError(
            f"{target} can be called without arguments: if it is a factory use --factory or {target}(),"
            " if not say --interface wsgi or --interface asgi"
        )
    raise BootError(f"cannot tell whether {target} is WSGI or ASGI: say so with --interface")


def is_coroutine(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function)


def positional(app: Any) -> tuple[int | None, int | None]:
    """How many positional arguments are required and how many are possible; None where that is not known."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None, None
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in plain)
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if open_ended and required < 2:
        return None, None
    return required, len(plain)


def describe(thing: Any) -> str:
    if isinstance(thing, ModuleType):
        return f"module {thing.__name__}"
    return f"an object of type {type(thing).__name__}"


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
