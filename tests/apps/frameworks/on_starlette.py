"""Starlette: all that the test asks of a framework. CPython 3.10."""

import asyncio
import contextlib
import hashlib

from notes import note
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect


@contextlib.asynccontextmanager
async def lifespan(app):
    note("startup")
    yield {"database": "open"}
    note("shutdown")


async def page(request):
    return PlainTextResponse(f"page of {request.url.path}, database {request.state.database}")


async def data(request):
    return JSONResponse({"query": request.query_params["q"], "host": request.url.hostname})


async def ticks():
    try:
        number = 0
        while True:
            yield f"data: {number}\n\n"
            number += 1
            await asyncio.sleep(0.01)
    finally:
        note("ticks are over")


async def silence():
    try:
        yield "data: first\n\n"
        await asyncio.sleep(3600)
    finally:
        note("silence is over")


async def events(request):
    kind = {"ticks": ticks, "silence": silence}[request.path_params["kind"]]
    return StreamingResponse(kind(), media_type="text/event-stream")


async def poll(request):
    """Ask now and then whether the client is there, as long polling does."""
    note("polling")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    note("polling is over")
    return PlainTextResponse("nobody reads this")


async def upload(request):
    async with request.form() as form:
        content = await form["file"].read()
        return JSONResponse(
            {"name": form["name"], "file": form["file"].filename, "sha256": hashlib.sha256(content).hexdigest()}
        )


async def later(request):
    return PlainTextResponse("accepted", background=BackgroundTask(finish))


async def finish():
    await asyncio.sleep(0.05)
    note("done later")


async def where(request):
    return PlainTextResponse(str(request.url_for("where")))


async def inner(request):
    return PlainTextResponse(f"{request.url_for('inner:deep', word='x')} {request.scope['root_path']}")


async def fail(request):
    raise LookupError("the framework's own failure")


async def chat(websocket):
    await websocket.accept(subprotocol="chat")
    try:
        while True:
            await websocket.send_text(f"{await websocket.receive_text()} {websocket.url.path}")
    except WebSocketDisconnect as gone:
        note(f"left with {gone.code}")


async def hints(request):
    await request.send_early_hints("</app.css>; rel=preload", "</app.js>; rel=preload")
    return PlainTextResponse("hinted")


class Trailed:
    """An ASGI application beside the framework's, as its documents tell to write one."""

    async def __call__(self, scope, receive, send):
        assert "http.response.trailers" in scope["extensions"]
        headers = [(b"trailer", b"x-sum")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b"summed"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})


def routes():
    return [
        Route("/", page),
        Route("/json", data),
        Route("/events/{kind}", events),
        Route("/poll", poll),
        Route("/upload", upload, methods=["POST"]),
        Route("/later", later, methods=["POST"]),
        Route("/where", where, name="where"),
        Mount("/inner", routes=[Route("/{word}", inner, name="deep")], name="inner"),
        Route("/fail", fail),
        Route("/hints", hints),
        WebSocketRoute("/chat", chat),
        Route("/trailers", Trailed()),
    ]


app = Starlette(routes=routes(), lifespan=lifespan, middleware=[Middleware(GZipMiddleware, minimum_size=100_000)])
