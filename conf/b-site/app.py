"""The ASGI application of the demo: standard library only.

``application`` answers lifespan events and passes each request to the function for its path. Streams end by themselves
or when the visitor leaves, uploads are hashed piece by piece, nothing is kept but two counters: memory stays bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_TICKS = 60
MAX_STREAMS = 100
TICK_S = 1.0

EVERY_ANSWER = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]

HOME = (Path(__file__).parent / "home.html").read_bytes()


class Counters:
    """What one worker remembers; made at start-up, handed to every request as ``scope["state"]["counters"]``."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.requests = 0
        self.streams = 0


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI 3."""
    if scope["type"] == "lifespan":
        await run_lifespan(scope, receive, send)
        return
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    scope["state"]["counters"].requests += 1
    allowed, view = ROUTES.get(scope["path"], (("GET", "HEAD"), show_missing))
    if scope["method"] in allowed:
        await view(scope, receive, send)
    else:
        names = ", ".join(allowed)
        await send_json(send, 405, {"error": f"takes {names}"}, [(b"allow", names.encode())])


async def run_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Prepare at start-up what every request gets as ``scope["state"]``."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            scope["state"]["counters"] = Counters()
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def show_home(scope: Scope, receive: Receive, send: Send) -> None:
    await send_whole(send, 200, b"text/html; charset=utf-8", HOME)


async def show_state(scope: Scope, receive: Receive, send: Send) -> None:
    counters: Counters = scope["state"]["counters"]
    state = {
        "process": os.getpid(),
        "python": platform.python_version(),
        "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        "started": counters.started.isoformat(timespec="seconds"),
        "requests": counters.requests,
        "open_streams": counters.streams,
        "http_version": scope["http_version"],
        "client": (scope.get("client") or ["-"])[0],
    }
    await send_json(send, 200, state)


async def stream_ticks(scope: Scope, receive: Receive, send: Send) -> None:
    """Send ``n`` server-sent events, one a second, and a last one named ``done``."""
    counters: Counters = scope["state"]["counters"]
    if counters.streams >= MAX_STREAMS:
        await send_json(send, 503, {"error": "too many streams"}, [(b"retry-after", b"10")])
        return
    wanted = parse_qs(scope["query_string"].decode("latin-1")).get("n", ["10"])[0]
    count = min(int(wanted), MAX_TICKS) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else 10
    counters.streams += 1
    gone = asyncio.ensure_future(wait_disconnect(receive))
    try:
        await send_head(send, 200, [(b"content-type", b"text/event-stream")])
        for number in range(1, count + 1):
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            data = json.dumps({"tick": number, "of": count, "time": now, "process": os.getpid()})
            await send_data(send, f"data: {data}\n\n".encode(), more=True)
            if number < count and (await asyncio.wait([gone], timeout=TICK_S))[0]:
                return  # the visitor closed the page
        await send_data(send, b"event: done\ndata: {}\n\n", more=False)
    finally:
        gone.cancel()
        counters.streams -= 1


async def wait_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def hash_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with size and SHA-256 of the request body, which is never in memory as a whole."""
    digest, size = hashlib.sha256(), 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        piece = event.get("body", b"")
        digest.update(piece)
        size += len(piece)
        if not event.get("more_body"):
            break
    await send_json(send, 200, {"size_bytes": size, "sha256": digest.hexdigest()})


async def echo_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the request body back while it still arrives."""
    event = await receive()
    # Always as bytes to save: what somebody sends here must never be shown as a page of this site.
    await send_head(send, 200, [(b"content-type", b"application/octet-stream")])
    while event["type"] != "http.disconnect":
        more = event.get("more_body", False)
        await send_data(send, event.get("body", b""), more=more)
        if not more:
            return
        event = await receive()


async def show_missing(scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, 404, {"error": "nothing at this address"})


View = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTES: dict[str, tuple[tuple[str, ...], View]] = {
    "/": (("GET", "HEAD"), show_home),
    "/state.json": (("GET", "HEAD"), show_state),
    "/ticks": (("GET",), stream_ticks),
    "/sha256": (("POST", "PUT"), hash_body),
    "/echo": (("POST", "PUT"), echo_body),
}


async def send_head(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *EVERY_ANSWER]})


async def send_data(send: Send, data: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def send_whole(
    send: Send, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    own = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send_head(send, status, own + (headers or []))
    await send_data(send, body, more=False)


async def send_json(send: Send, status: int, value: object, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send_whole(send, status, b"application/json", json.dumps(value, indent=2).encode() + b"\n", headers)
