"""Applications of every shape."""

import functools


def wsgi_function(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]


async def asgi_function(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})


application = wsgi_function


class Wsgi:
    def __call__(self, environ, start_response):
        return wsgi_function(environ, start_response)

    def method(self, environ, start_response):
        return wsgi_function(environ, start_response)


class WsgiClass:
    """PEP 3333's example of a class as application: its instances are the bodies."""

    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        self.start("200 OK", [])
        yield b"ok"


class Asgi:
    async def __call__(self, scope, receive, send):
        await asgi_function(scope, receive, send)

    async def method(self, scope, receive, send):
        await asgi_function(scope, receive, send)


class Asgi2:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        pass


def asgi_plain(scope, receive, send):
    return asgi_function(scope, receive, send)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def with_extra(extra, first, second):
    return wsgi_function(first, second)


async def asgi_extra(scope, receive, send, extra=None):
    await asgi_function(scope, receive, send)


wsgi_object = Wsgi()
wsgi_method = Wsgi().method
wsgi_partial = functools.partial(with_extra, "extra")
wsgi_wrapped = decorated(wsgi_function)
asgi_object = Asgi()
asgi_method = Asgi().method
asgi_partial = functools.partial(asgi_extra, extra=1)
asgi_wrapped = decorated(asgi_plain)


def wsgi_vague(*args):
    return wsgi_function(*args)


def asgi_vague(*args):
    return asgi_function(*args)


def one_argument(scope):
    pass


class holder:
    inner = staticmethod(wsgi_function)


def create_app(kind="asgi", plain=False):
    return wsgi_function if kind == "wsgi" and plain else asgi_function


def returns_none():
    pass


def fails():
    return {}["SECRET"]


number = 5
