"""FastAPI: all that the test asks of a framework. CPython 3.10."""

import asyncio
import contextlib
import hashlib
from typing import Annotated, get_type_hints, is_typeddict

from asgiref.typing import HTTPScope
from fastapi import BackgroundTasks, FastAPI, File, Form, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse
from notes import note
from on_starlette import Trailed, silence, ticks
from pydantic import TypeAdapter


@contextlib.asynccontextmanager
async def lifespan(app):
    note("startup")
    yield {"database": "open"}
    note("shutdown")


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=PlainTextResponse)
async def page(request: Request):
    return f"page of {request.url.path}, database {request.state.database}"


@app.get("/json")
async def data(q: str, request: Request):
    return {"query": q, "host": request.url.hostname}


@app.get("/events/{kind}")
async def events(kind: str):
    return StreamingResponse({"ticks": ticks, "silence": silence}[kind](), media_type="text/event-stream")


@app.get("/poll", response_class=PlainTextResponse)
async def poll(request: Request):
    note("polling")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    note("polling is over")
    return "nobody reads this"


@app.post("/upload")
async def upload(name: Annotated[str, Form()], file: Annotated[UploadFile, File()]):
    return {"name": name, "file": file.filename, "sha256": hashlib.sha256(await file.read()).hexdigest()}


@app.post("/later", response_class=PlainTextResponse)
async def later(tasks: BackgroundTasks):
    tasks.add_task(finish)
    return "accepted"


async def finish():
    await asyncio.sleep(0.05)
    note("done later")


@app.get("/where", response_class=PlainTextResponse)
async def where(request: Request):
    return str(request.url_for("where"))


@app.get("/fail")
def fail():  # in a thread
    raise LookupError("the framework's own failure")


@app.get("/hints", response_class=PlainTextResponse)
async def hints(request: Request):
    await request.send_early_hints("</app.css>; rel=preload", "</app.js>; rel=preload")
    return "hinted"


app.mount("/trailers", Trailed())


@app.get("/scope", response_class=PlainTextResponse)
async def scope_as_asgiref_types_it(request: Request):
    """Let pydantic hold what the server made against the types of ASGI's own package."""
    check(request.scope, HTTPScope)
    return "right"


def check(values, types):
    # One by one: before 3.12 pydantic does not take the standard library's TypedDict.
    for key, kind in get_type_hints(types).items():
        if is_typeddict(kind):
            check(values[key], kind)
        else:
            TypeAdapter(kind).validate_python(values[key], strict=True)


@app.websocket("/chat")
async def chat(websocket: WebSocket):
    await websocket.accept(subprotocol="chat")
    try:
        while True:
            await websocket.send_text(f"{await websocket.receive_text()} {websocket.url.path}")
    except WebSocketDisconnect as gone:
        note(f"left with {gone.code}")
