def make_app():
    from shapes import wsgi_function

    return wsgi_function
