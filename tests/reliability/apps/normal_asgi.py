"""What the checks ask of an ASGI application. Standard library only; copied into the temporary folder and run there."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

BLOCK = b"0123456789abcdef" * 4096


class Planned(Exception):
    """Raised because the request asked for it."""


class Left(Exception):
    """The client left in the middle of its body."""


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http", scope["type"]  # no lifespan
    _, what, value = scope["path"].split("/", 2)
    if what == "bytes":
        await _start(send, int(value))
        await _send_blocks(send, int(value))
    elif what == "drip":
        await _drip(send, float(value))
    elif what == "early":
        await _answer(send, b"early", int(value))  # without a look at the body
    elif what == "raise":
        await _raise(send, value)
    else:
        try:
            body = await _body(receive)
        except Left:
            return
        await _answer(send, f"{value} {hashlib.sha256(body).hexdigest()} {len(body)}\n".ljust(1024, ".").encode())


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def _start(send: Any, length: int | None, status: int = 200) -> None:
    headers = [(b"content-type", b"text/plain")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _answer(send: Any, body: bytes, status: int = 200) -> None:
    await _start(send, len(body), status)
    await send({"type": "http.response.body", "body": body})


async def _send_blocks(send: Any, count: int) -> None:
    while count > len(BLOCK):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        count -= len(BLOCK)
    await send({"type": "http.response.body", "body": BLOCK[:count]})


async def _drip(send: Any, seconds: float) -> None:
    """Ten bytes twice a second: a request that runs for so long, and moves."""
    steps = max(1, int(seconds * 2))
    await _start(send, steps * 10)
    for step in range(steps):
        await send({"type": "http.response.body", "body": b"123456789\n", "more_body": step < steps - 1})
        await asyncio.sleep(seconds / steps)


async def _raise(send: Any, where: str) -> None:
    if where == "before":
        raise Planned(where)
    await _start(send, None)
    if where == "after-start":
        raise Planned(where)
    await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    raise Planned(where)
