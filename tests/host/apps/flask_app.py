"""Flask below a prefix: the same facts, an address made by url_for, a redirect and an error of its own."""

import plain
from flask import Flask, jsonify, redirect, request, url_for

app = Flask(__name__)


def answer(rest=""):
    """What was asked, and the address of this very page as Flask makes it."""
    found = plain.facts(
        request.script_root, request.path, request.query_string.decode(), request.host, request.get_data()
    )
    return jsonify({**found, "url": url_for("page", rest=rest), "framework": "flask"})


@app.route("/", methods=["GET", "POST"])
def index():
    return answer()


@app.route("/<path:rest>", methods=["GET", "POST"])
def page(rest):
    return answer(rest)


@app.get("/away")
def away():
    return redirect(url_for("page", rest="arrived"))


@app.get("/missing")
def missing():
    return "flask has no such page", 404
