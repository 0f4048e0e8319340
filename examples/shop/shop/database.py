"""The shop's SQLite database: schema, first contents and queries.

Prices are whole cents. Each request opens one connection on first use and
closes it at its end.
"""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

from flask import current_app, g

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS product (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price INTEGER NOT NULL CHECK (price > 0),
    stock INTEGER NOT NULL CHECK (stock >= 0)
);
CREATE TABLE IF NOT EXISTS purchase (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    address TEXT NOT NULL,
    total INTEGER NOT NULL,
    placed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS purchase_line (
    purchase INTEGER NOT NULL REFERENCES purchase (id),
    product INTEGER NOT NULL REFERENCES product (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price INTEGER NOT NULL,
    PRIMARY KEY (purchase, product)
);
"""

PRODUCTS = [
    (1, "Enamel teapot", "Holds one litre, pours without dripping.", 3450, 40),
    (2, "Beech chopping board", "Oiled by hand, 40 by 25 centimetres.", 2800, 60),
    (3, "Cast-iron pan", "Twenty-four centimetres, seasoned and ready to use.", 4990, 25),
    (4, "Linen tea towel", "Washed linen, dries in an hour.", 1250, 200),
    (5, "Pepper mill", "Ceramic grinder, six settings.", 2390, 80),
    (6, "Storm lantern", "Burns for twenty hours on one filling.", 5600, 3),
]


class OutOfStock(Exception):
    """Fewer pieces are left than were ordered; the argument is the product's name."""


def create(path: Path) -> str:
    """Create and fill the database if needed; return the key that signs sessions."""
    connection = sqlite3.connect(path, timeout=30)
    try:
        with connection:
            # Several workers start at once: whoever comes first writes, the others wait here.
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.executemany("INSERT OR IGNORE INTO product VALUES (?, ?, ?, ?, ?)", PRODUCTS)
            connection.execute(
                "INSERT OR IGNORE INTO setting VALUES ('secret_key', ?)", (secrets.token_hex(32),)
            )
        row = connection.execute("SELECT value FROM setting WHERE name = 'secret_key'").fetchone()
        return str(row[0])
    finally:
        connection.close()


def connection() -> sqlite3.Connection:
    """This request's connection."""
    if "connection" not in g:
        g.connection = sqlite3.connect(current_app.config["DATABASE"], timeout=10)
        g.connection.row_factory = sqlite3.Row
        g.connection.execute("PRAGMA foreign_keys = ON")
    return g.connection


def close(_error: BaseException | None = None) -> None:
    """Close this request's connection, if it opened one."""
    opened = g.pop("connection", None)
    if opened is not None:
        opened.close()


def products() -> list[sqlite3.Row]:
    """All products, by name."""
    return connection().execute("SELECT * FROM product ORDER BY name").fetchall()


def product(product_id: int) -> sqlite3.Row | None:
    """One product, or None."""
    return connection().execute("SELECT * FROM product WHERE id = ?", (product_id,)).fetchone()


def place_order(buyer: dict[str, str], lines: list[tuple[sqlite3.Row, int]]) -> int:
    """Take the pieces out of stock and record the order; return its number.

    Raises OutOfStock, and then changes nothing.
    """
    database = connection()
    total = sum(row["price"] * quantity for row, quantity in lines)
    with database:
        for row, quantity in lines:
            taken = database.execute(
                "UPDATE product SET stock = stock - ? WHERE id = ? AND stock >= ?",
                (quantity, row["id"], quantity),
            )
            if taken.rowcount == 0:
                raise OutOfStock(row["name"])
        number = database.execute(
            "INSERT INTO purchase (name, email, address, total) VALUES (?, ?, ?, ?)",
            (buyer["name"], buyer["email"], buyer["address"], total),
        ).lastrowid
        database.executemany(
            "INSERT INTO purchase_line VALUES (?, ?, ?, ?)",
            [(number, row["id"], quantity, row["price"]) for row, quantity in lines],
        )
    assert number is not None
    return number
