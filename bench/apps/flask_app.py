"""A small Flask page: one route parameter, one template with a loop and escaping."""

from flask import Flask, render_template
from jinja2 import DictLoader

PAGE = """<!doctype html>
<title>{{ name }}</title>
<h1>Hello, {{ name }}!</h1>
<ul>
{% for item in items %}<li class="{{ loop.cycle('odd', 'even') }}">{{ item.title }}: {{ item.price }}</li>
{% endfor %}</ul>
"""
ITEMS = [{"title": f"item <{number}>", "price": number * 3} for number in range(10)]

app = Flask(__name__)
app.jinja_loader = DictLoader({"hello.html": PAGE})


@app.get("/hello/<name>")
def hello(name: str) -> str:
    return render_template("hello.html", name=name, items=ITEMS)
