"""An ASGI application whose lifespan goes as LIFESPAN says; it notes each step in the file NOTES. CPython 3.10."""

import asyncio
import os
import sys

KIND = os.environ["LIFESPAN"]


def note(what):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{what} {os.getpid()}\n")


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    state = scope.get("state", {})
    state["of this request"] = True
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(sorted(state)).encode()})
    message = await receive() if "receive" in scope["path"] else None
    if message is not None:
        message = await receive()
        note(message["type"])


async def lifespan(scope, receive, send):
    if KIND == "raises at once":
        raise ValueError("what is a lifespan?")
    assert (await receive())["type"] == "lifespan.startup"
    note("startup")
    if KIND == "raises at startup":
        raise ConnectionError("the startup has a bug")
    if KIND == "exits":
        sys.exit("no reason to run")
    if KIND == "fails":
        await send({"type": "lifespan.startup.failed", "message": "the database is away"})
        return
    scope["state"]["database"] = object()
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    note("shutdown")
    if KIND == "fails to stop":
        await send({"type": "lifespan.shutdown.failed", "message": "the database is stuck"})
        return
    await asyncio.sleep(0.3)
    note("closed")
    await send({"type": "lifespan.shutdown.complete"})
