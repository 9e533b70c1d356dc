"""A Flask application with sessions and file uploads."""

import hashlib
import os
import sys

from flask import Flask, redirect, request, send_file, session

app = Flask(__name__)
app.secret_key = "only for this test"


@app.get("/")
def home():
    return f"hello {session.get('name', 'stranger')}, Python {sys.version_info.major}.{sys.version_info.minor}"


@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect("/")


@app.post("/upload")
def upload():
    file = request.files["file"]
    data = file.read()
    return {"name": file.filename, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.get("/download")
def download():
    return send_file(os.environ["DOWNLOAD"], mimetype="application/octet-stream")


@app.get("/stream")
def stream():
    return (f"{number}\n" for number in range(1000)), {"Content-Type": "text/plain"}
