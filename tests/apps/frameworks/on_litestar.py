"""Litestar: all that the test asks of a framework. CPython 3.10."""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from typing import Annotated

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.logging import LoggingConfig
from litestar.params import Body
from litestar.response import Response, ServerSentEvent
from notes import note


@contextlib.asynccontextmanager
async def lifespan(app):
    note("startup")
    app.state.database = "open"
    yield
    note("shutdown")


@get("/", media_type="text/plain")
async def page(request: Request) -> str:
    return f"page of {request.url.path}, database {request.app.state.database}"


@get("/json")
async def data(q: str, request: Request) -> dict[str, str]:
    return {"query": q, "host": request.url.hostname}


@get("/events/{kind:str}")
async def events(kind: str) -> ServerSentEvent:
    async def ticks():
        try:
            for number in range(10**9):
                yield str(number)
                await asyncio.sleep(0.01 if kind == "ticks" else 3600)
        finally:
            note(f"{kind} is over" if kind == "silence" else "ticks are over")

    return ServerSentEvent(ticks())


@dataclass
class Sent:
    name: str
    file: UploadFile


@post("/upload", status_code=200)
async def upload(data: Annotated[Sent, Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, str]:
    content = await data.file.read()
    return {"name": data.name, "file": data.file.filename, "sha256": hashlib.sha256(content).hexdigest()}


@post("/later", status_code=200)
async def later() -> Response[str]:
    return Response("accepted", media_type="text/plain", background=BackgroundTask(finish))


async def finish() -> None:
    await asyncio.sleep(0.05)
    note("done later")


@get("/where", name="where", media_type="text/plain")
async def where(request: Request) -> str:
    return request.url_for("where")


@get("/fail")
async def fail() -> str:
    raise LookupError("the framework's own failure")


@websocket("/chat")
async def chat(socket: WebSocket) -> None:
    await socket.accept(subprotocols="chat")
    try:
        while True:
            await socket.send_text(f"{await socket.receive_text()} {socket.url.path}")
    finally:
        note("left")


app = Litestar(
    [page, data, events, upload, later, where, fail, chat],
    lifespan=[lifespan],
    logging_config=LoggingConfig(log_exceptions="always"),
)
