"""The WSGI entry point: `shop.wsgi:application`."""

from . import create_app

application = create_app()
