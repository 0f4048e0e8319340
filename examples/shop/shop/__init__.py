"""A small shop: products, a basket, a checkout.

The basket lives in the signed session cookie and the catalogue and the orders
in SQLite, so any worker can answer any request. There is no payment, no
account and no stock administration.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

from . import database, views


def create_app(database_path: str | None = None) -> Flask:
    """Build the application.

    The database is `database_path`, else the environment's SHOP_DB, else
    `instance/shop.sqlite3`; it is created and filled if it does not exist.
    The environment's SHOP_NAME is what the shop is called.
    """
    app = Flask(__name__, instance_relative_config=True)
    data = os.environ.get("SERPENTRY_DATA") or app.instance_path
    path = Path(database_path or os.environ.get("SHOP_DB") or Path(data, "shop.sqlite3"))
    path.parent.mkdir(parents=True, exist_ok=True)
    app.config.update(
        DATABASE=str(path),
        SHOP_NAME=os.environ.get("SHOP_NAME", "The Kitchen Shop"),
        # The key is in the database because every worker must sign with the same one.
        SECRET_KEY=database.create(path),
        # Other sites' forms must not be able to order on a visitor's behalf.
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.teardown_appcontext(database.close)
    app.register_blueprint(views.blueprint)
    app.add_template_filter(views.euros)
    return app
