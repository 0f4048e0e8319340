"""Flask as it is really used: sessions, uploads, templates, streaming, errors."""

import hashlib

from flask import (
    Flask,
    abort,
    flash,
    get_flashed_messages,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)

app = Flask(__name__)
app.secret_key = "only for tests"


@app.get("/")
def index():
    return render_template("hello.html", name=request.args.get("name", "nobody"))


@app.get("/count")
def count():
    session["count"] = session.get("count", 0) + 1
    return jsonify(count=session["count"])


@app.post("/upload")
def upload():
    file = request.files["file"]
    data = file.read()
    return jsonify(
        name=file.filename, size=len(data), sha256=hashlib.sha256(data).hexdigest(), note=request.form["note"]
    )


@app.get("/stream")
def stream():
    @stream_with_context
    def rows():
        for number in range(int(request.args["rows"])):
            yield f"row {number}\n"

    return app.response_class(rows(), mimetype="text/plain")


@app.post("/form")
def form():
    flash(f"saved {request.form['title']}")
    return redirect(url_for("flashes"), code=303)


@app.get("/flashes")
def flashes():
    return jsonify(get_flashed_messages())


@app.route("/item/<int:number>", methods=["GET", "PUT", "DELETE"])
def item(number):
    return jsonify(number=number, method=request.method, json=request.get_json(silent=True))


@app.get("/missing")
def missing():
    abort(404)


@app.get("/teapot")
def teapot():
    raise LookupError("no tea")


@app.get("/crash")
def crash():
    raise RuntimeError("flask crash")


@app.errorhandler(LookupError)
def no_tea(error):
    return jsonify(error=str(error)), 418


@app.get("/remote")
def remote():
    return jsonify(address=request.remote_addr, url=request.url, scheme=request.scheme)
