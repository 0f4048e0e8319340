"""The shop's pages."""

from __future__ import annotations

import re
import sqlite3

from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from . import database

MOST_PIECES = 20
FIELDS = {"name": 80, "email": 120, "address": 300}

blueprint = Blueprint("shop", __name__)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """The list of products."""
    return render_template("index.html", products=database.products())


@blueprint.get("/product/<int:product_id>")
def product(product_id: int) -> ResponseReturnValue:
    """One product, with the form that puts it into the basket."""
    return render_template("product.html", product=_product_or_404(product_id), most=MOST_PIECES)


@blueprint.get("/basket")
def basket() -> ResponseReturnValue:
    """What the visitor has chosen, and the checkout form."""
    return _basket_page({}, {})


@blueprint.post("/basket")
def add_to_basket() -> ResponseReturnValue:
    """Add `quantity` pieces of `product`; a quantity of 0 removes the product."""
    row = _product_or_404(request.form.get("product", type=int) or 0)
    quantity = request.form.get("quantity", default=1, type=int)
    if not 0 <= quantity <= MOST_PIECES:
        flash(f"Choose between 0 and {MOST_PIECES} pieces.")
        return redirect(url_for("shop.product", product_id=row["id"]))
    chosen = dict(session.get("basket", {}))
    key = str(row["id"])
    if quantity == 0:
        chosen.pop(key, None)
    else:
        chosen[key] = min(chosen.get(key, 0) + quantity, MOST_PIECES)
        flash(f"{row['name']} is in your basket.")
    session["basket"] = chosen
    return redirect(url_for("shop.basket"), 303)


@blueprint.post("/checkout")
def checkout() -> ResponseReturnValue:
    """Order what is in the basket; 422 with the form again if it is not complete."""
    values = {field: request.form.get(field, "").strip() for field in FIELDS}
    errors = _errors(values)
    lines = _basket_lines()
    if not lines:
        errors["basket"] = "Your basket is empty."
    if not errors:
        try:
            number = database.place_order(values, lines)
        except database.OutOfStock as error:
            errors["basket"] = f"There are not enough pieces left of: {error}."
        else:
            session.pop("basket")
            session["order"] = number
            return redirect(url_for("shop.thanks"), 303)
    return _basket_page(values, errors), 422


@blueprint.get("/thanks")
def thanks() -> ResponseReturnValue:
    """The confirmation of the visitor's last order."""
    if "order" not in session:
        return redirect(url_for("shop.index"))
    return render_template("thanks.html", number=session["order"])


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """200 if the database answers."""
    database.connection().execute("SELECT 1 FROM product LIMIT 1").fetchone()
    return {"status": "ok"}


@blueprint.app_errorhandler(404)
def not_found(_error: Exception) -> ResponseReturnValue:
    """The page for an address that does not exist."""
    return render_template("not_found.html"), 404


@blueprint.app_context_processor
def basket_size() -> dict[str, int]:
    """Give every template the number of pieces in the basket."""
    return {"basket_size": sum(session.get("basket", {}).values())}


def euros(cents: int) -> str:
    """A price in cents as text: 3450 is `34.50 €`."""
    return f"{cents // 100}.{cents % 100:02} \N{EURO SIGN}"


def _product_or_404(product_id: int) -> sqlite3.Row:
    return database.product(product_id) or abort(404)


def _basket_lines() -> list[tuple[sqlite3.Row, int]]:
    rows = ((database.product(int(key)), count) for key, count in session.get("basket", {}).items())
    return [(row, count) for row, count in rows if row is not None]


def _basket_page(values: dict[str, str], errors: dict[str, str]) -> str:
    lines = _basket_lines()
    total = sum(row["price"] * quantity for row, quantity in lines)
    return render_template("basket.html", lines=lines, total=total, values=values, errors=errors)


def _errors(values: dict[str, str]) -> dict[str, str]:
    """What is wrong with the checkout form: field to sentence."""
    errors = {field: f"Please fill in your {field}." for field, value in values.items() if not value}
    for field, longest in FIELDS.items():
        if len(values[field]) > longest:
            errors[field] = f"At most {longest} characters, please."
    if "email" not in errors and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", values["email"]):
        errors["email"] = "This does not look like an email address."
    return errors
