"""WebSockets for the tests: the path says how they behave. ``NOTES`` is a file to write what became of them to."""

from __future__ import annotations

import asyncio
import os
from typing import Any


def note(text: str) -> None:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(text + "\n")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})
        return
    await receive()
    path = scope["path"]
    if path == "/refuse":
        await send({"type": "websocket.close"})
        return
    if path == "/refuse-softly":
        head = {"status": 401, "headers": [(b"www-authenticate", b"Basic")]}
        await send({"type": "websocket.http.response.start", **head})
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})
        return
    if path == "/fail":
        raise ValueError("at the door")
    if path == "/never":
        await receive()
        return
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
    if path == "/deaf":
        await asyncio.sleep(2)
    if path == "/talker":
        sent = 0
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(10_000)})
                sent += 10_000
                os.environ["SENT"] = str(sent)
        except OSError:
            note("talker: " + ("bounded" if sent < 8_000_000 else f"sent {sent}"))
            raise
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            note(f"{path} {message['code']} {message['reason']}".rstrip())
            return
        text = message.get("text")
        if text == "raise":
            raise ValueError("in the middle")
        if text == "return":
            return
        if text == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        elif text == "exit":
            os._exit(1)
        elif text == "large":
            await send({"type": "websocket.send", "text": "é" * 200_000})
        elif text == "pid":
            await send({"type": "websocket.send", "text": str(os.getpid())})
        else:
            await send({**message, "type": "websocket.send"})


def plain(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from wsgi"]
