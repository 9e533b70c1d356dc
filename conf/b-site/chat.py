"""The chat of the demo, an ASGI application for WebSockets: standard library only.

Who is in the room gets what anybody says, and the last words from before. A visitor has a queue of its own: one that
takes nothing is sent away, and holds up nobody. One process is the room, so this application has one worker.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_VISITORS = 200
MAX_TEXT = 500
MAX_NAME = 30
MAX_BEHIND = 100
TOO_SLOW, TOO_MANY = 1008, 1013

PAGE = (Path(__file__).parent / "chat.html").read_bytes()
PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", str(len(PAGE)).encode()),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]

Queue = asyncio.Queue[str | None]
room: set[Queue] = set()
history: deque[str] = deque(maxlen=50)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI 3."""
    if scope["type"] == "websocket":
        await visit(receive, send)
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": PAGE_HEADERS})
        await send({"type": "http.response.body", "body": PAGE})
    else:
        raise NotImplementedError(scope["type"])


async def visit(receive: Receive, send: Send) -> None:
    """Let a visitor in, until it leaves or is too slow."""
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    if len(room) >= MAX_VISITORS:
        await send({"type": "websocket.close", "code": TOO_MANY, "reason": "the room is full"})
        return
    queue: Queue = asyncio.Queue()
    for line in history:
        queue.put_nowait(line)
    room.add(queue)
    tell_everybody(kind="count", count=len(room))
    writer = asyncio.create_task(write(queue, send))
    try:
        while (message := await receive())["type"] == "websocket.receive":
            said = understand(message.get("text"))
            if said is not None:
                history.append(tell_everybody(kind="said", at=datetime.now(UTC).isoformat(timespec="seconds"), **said))
    finally:
        room.discard(queue)
        writer.cancel()
        tell_everybody(kind="count", count=len(room))


def understand(text: str | None) -> dict[str, str] | None:
    """Return name and text of what a page sent, None if it is no such thing."""
    try:
        said = json.loads(text or "")
        name, words = said["name"].strip()[:MAX_NAME], said["text"].strip()[:MAX_TEXT]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return {"name": name or "somebody", "text": words} if words else None


def tell_everybody(**what: object) -> str:
    """Put a line into every visitor's queue and return it; None in one is the end of a visitor that is too slow."""
    line = json.dumps(what)
    for queue in list(room):
        if queue.qsize() < MAX_BEHIND:
            queue.put_nowait(line)
        else:
            room.discard(queue)
            queue.put_nowait(None)
    return line


async def write(queue: Queue, send: Send) -> None:
    try:
        while (line := await queue.get()) is not None:
            await send({"type": "websocket.send", "text": line})
        await send({"type": "websocket.close", "code": TOO_SLOW, "reason": "too slow"})
    except OSError:
        pass  # the visitor has gone, which `visit` hears too
