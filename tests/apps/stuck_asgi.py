"""The ASGI twin of ``stuck_wsgi``."""

import asyncio
import time


async def application(scope, receive, send):
    assert scope["type"] == "http"
    kind = scope["path"].strip("/")
    if kind == "wait":
        await forever()
    elif kind == "thread":
        await asyncio.to_thread(in_a_thread)
    elif kind == "spin":
        while True:
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def in_a_thread():
    time.sleep(600)


async def forever():
    await asyncio.Event().wait()
