"""Flask: all that the test asks of a framework. CPython 3.10."""

import hashlib
import threading
import time

from flask import Flask, request, url_for
from notes import note

app = Flask(__name__)
app.config["PROPAGATE_EXCEPTIONS"] = True


@app.get("/")
def page():
    return f"page of {request.root_path}{request.path}, database open"


@app.get("/json")
def data():
    return {"query": request.args["q"], "host": request.host.partition(":")[0]}


@app.get("/events/<kind>")
def events(kind):
    def ticks():
        try:
            for number in range(10**9):
                yield f"data: {number}\n\n"
                time.sleep(0.01)
        finally:
            note("ticks are over")

    return ticks(), {"Content-Type": "text/event-stream"}


@app.post("/upload")
def upload():
    file = request.files["file"]
    digest = hashlib.sha256(file.read()).hexdigest()
    return {"name": request.form["name"], "file": file.filename, "sha256": digest}


@app.post("/later")
def later():
    response = app.make_response("accepted")
    response.call_on_close(threading.Thread(target=finish).start)
    return response


def finish():
    time.sleep(0.05)
    note("done later")


@app.get("/where")
def where():
    return url_for("where", _external=True)


@app.get("/fail")
def fail():
    raise LookupError("the framework's own failure")


@app.get("/hints")
def hints():
    request.environ["wsgi.early_hints"]([("Link", "</app.css>; rel=preload"), ("Link", "</app.js>; rel=preload")])
    return "hinted"
