"""The seam between a transport and a handler (D2). Pure.

A transport (HTTP/1.1 today, HTTP/2 later) makes an ``Exchange`` of each request and calls ``Handler.handle``; the
handler answers by plain calls, at once or later. Nothing here awaits. Every exchange ends exactly once: ``finish``,
``abort``, or the client left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pyserve.http.request import Request
from pyserve.routing.router import Match


class BodyReceiver(Protocol):
    """Who takes the request's body and wants to know if the client leaves. All calls come from the transport."""

    def body_data(self, data: bytes) -> None: ...
    def body_end(self) -> None: ...
    def client_gone(self) -> None:
        """The exchange is over and already logged: let go of everything."""

    def on_writable(self) -> None:
        """The transport takes bytes again after ``is_writable`` was False."""


class Exchange(Protocol):
    request: Request
    peer_blob: bytes
    """``wire.codec.Peer`` of the connection, packed."""

    def receive_body(self, receiver: BodyReceiver) -> None:
        """Begin to deliver the body (100 Continue is sent by ``want_body``). Never called: the body is read and
        dropped."""

    def want_body(self) -> None: ...  # send 100 Continue if the client waits for it
    def pause_body(self) -> None: ...  # stop reading from the client
    def resume_body(self) -> None: ...

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0) -> None:
        """Send a whole answer and finish. ``block``: lower-case ``name: value\\r\\n`` lines without framing fields.

        To a HEAD the transport gives the same head and no byte of the body."""

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        """Begin an answer; ``length`` None = unknown (chunked, or until close for HTTP/1.0)."""

    def send_data(self, data: bytes) -> None: ...  # bytes beyond `length` are cut
    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send a piece of a file after what was sent before; the fd stays the caller's until the exchange is over."""

    @property
    def is_writable(self) -> bool: ...  # False: keep the rest until `on_writable`
    def at_end(self, callback: Callable[[], None]) -> None:
        """Call back once when the exchange is over, however it ended: what was lent to ``send_file`` is free again."""

    def finish(self) -> None: ...  # fewer bytes than `length` cut the connection (but HEAD)
    def fail(self, status: int, reason: str) -> None: ...  # error page with an id, or cut if the head is out
    def abort(self) -> None: ...  # cut now


class Handler(Protocol):
    def handle(self, exchange: Exchange, match: Match[Handler]) -> None: ...
