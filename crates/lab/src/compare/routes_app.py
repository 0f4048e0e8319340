"""The routes of another application, as far as its framework says them: a WSGI application of one answer.

It runs as that application does (same interpreter, directory, user and limits), and is asked once. It imports the application
and calls nothing of it.
"""

import importlib
import json
import os
import traceback

MOST = 500


def load(spec):
    name, _, attribute = spec.partition(":")
    module = importlib.import_module(name)
    attributes = [attribute.removesuffix("()")] if attribute else ["application", "app"]
    for candidate in attributes:
        found = module
        for part in candidate.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found() if attribute.endswith("()") or os.environ.get("LAB_FACTORY") == "1" else found
    raise AttributeError(f"{name} has none of {attributes}")


def flask(app):
    return [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not set(rule.arguments) - set(rule.defaults or {})
    ]


def starlette(app, prefix=""):
    found = []
    for route in getattr(app, "routes", []):
        path = prefix + getattr(route, "path", "")
        if hasattr(route, "routes") and getattr(route, "routes", None):
            found += starlette(route, path)
        elif "GET" in (getattr(route, "methods", None) or ()) and "{" not in path:
            found.append(path or "/")
    return found


def django():
    from django.urls import URLPattern, URLResolver, get_resolver

    def walk(patterns, prefix):
        found = []
        for entry in patterns:
            text = str(entry.pattern)
            if hasattr(entry.pattern, "regex") and not hasattr(entry.pattern, "_route"):
                text = text.lstrip("^").rstrip("$")
                if any(mark in text for mark in "([\\.*+?"):
                    continue
            if "<" in text:
                continue
            if isinstance(entry, URLResolver):
                found += walk(entry.url_patterns, prefix + text)
            elif isinstance(entry, URLPattern):
                found.append(prefix + text)
        return found

    return walk(get_resolver().url_patterns, "/")


def routes(app):
    for _ in range(10):
        kind = type(app)
        if any(base.__module__.startswith("django.") for base in kind.__mro__):
            return "django", django()
        if hasattr(app, "url_map") and hasattr(app.url_map, "iter_rules"):
            return "flask", flask(app)
        if isinstance(getattr(app, "routes", None), list):
            return "starlette", starlette(app)
        inner = [getattr(app, name, None) for name in ("app", "wsgi_app", "application", "_app")]
        inner = [candidate for candidate in inner if callable(candidate)]
        if not inner:
            break
        app = inner[0]
    return None, []


def app(environ, start_response):
    try:
        framework, found = routes(load(os.environ["LAB_APP"]))
        answer = {"framework": framework, "routes": sorted(set(found))[:MOST]}
    except Exception:
        answer = {"error": traceback.format_exc()[-2000:]}
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
