"""The smallest answers, the same bytes for both interfaces, and one that sleeps. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

BODY = b"Hello, World!"
SLEEP_S = 0.020
LONG_S = 1.0

_ASGI_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
_ASGI_BODY = {"type": "http.response.body", "body": BODY}
_WSGI_HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    await send(_ASGI_HEAD)
    await send(_ASGI_BODY)


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", list(_WSGI_HEADERS))
    return [BODY]


def wsgi_mixed(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """``/slow`` sleeps like a view that waits for a database; everything else answers at once."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(SLEEP_S)
    return wsgi(environ, start_response)


def wsgi_bursts(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """``/slow`` takes a second, as a report or somebody else's service does; everything else answers at once."""
    if environ["PATH_INFO"].startswith("/slow"):
        time.sleep(LONG_S)
    return wsgi(environ, start_response)


async def asgi_bursts(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The same with a slow call that holds the loop: one that computes, or a library that knows nothing of loops."""
    if scope["type"] == "http" and scope["path"].startswith("/slow"):
        time.sleep(LONG_S)
    await asgi(scope, receive, send)


def wsgi_quarters(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """``/quarter`` takes a quarter of a second."""
    if environ["PATH_INFO"] == "/quarter":
        time.sleep(0.25)
    return wsgi(environ, start_response)
