"""The smallest WebSocket application: it sends back what comes. Standard library only."""

from __future__ import annotations

from typing import Any

from benchmarks.apps.hello import Receive, Send
from benchmarks.apps.hello import asgi as hello


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        await hello(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "bytes": message["bytes"]})
