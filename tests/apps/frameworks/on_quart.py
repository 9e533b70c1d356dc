"""Quart: all that the test asks of a framework. CPython 3.10."""

import asyncio
import hashlib

from notes import note
from quart import Quart, current_app, request, url_for, websocket

app = Quart(__name__)


@app.before_serving
async def startup():
    note("startup")
    app.config["DATABASE"] = "open"


@app.after_serving
async def shutdown():
    note("shutdown")


@app.get("/")
async def page():
    return f"page of {request.root_path}{request.path}, database {current_app.config['DATABASE']}"


@app.get("/json")
async def data():
    return {"query": request.args["q"], "host": request.host.partition(":")[0]}


@app.get("/events/<kind>")
async def events(kind):
    async def ticks():
        try:
            for number in range(10**9):
                yield f"data: {number}\n\n"
                await asyncio.sleep(0.01 if kind == "ticks" else 3600)
        finally:
            note(f"{kind} is over" if kind == "silence" else "ticks are over")

    response = await current_app.make_response((ticks(), {"Content-Type": "text/event-stream"}))
    response.timeout = None
    return response


@app.post("/upload")
async def upload():
    form, files = await request.form, await request.files
    content = files["file"].read()
    return {"name": form["name"], "file": files["file"].filename, "sha256": hashlib.sha256(content).hexdigest()}


@app.post("/later")
async def later():
    app.add_background_task(finish)
    return "accepted"


async def finish():
    await asyncio.sleep(0.05)
    note("done later")


@app.get("/where")
async def where():
    return url_for("where", _external=True)


@app.get("/fail")
async def fail():
    raise LookupError("the framework's own failure")


@app.websocket("/chat")
async def chat():
    await websocket.accept(subprotocol="chat")
    try:
        while True:
            await websocket.send(f"{await websocket.receive()} {websocket.path}")
    finally:
        note("left")
