"""The ASGI twin of ``stuck_wsgi``."""

import asyncio


async def application(scope, receive, send):
    assert scope["type"] == "http"
    kind = scope["path"].strip("/")
    if kind == "wait":
        await forever()
    elif kind == "spin":
        while True:
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def forever():
    await asyncio.Event().wait()
