"""Step 3 of the request path: a connection that has to say something before it is clear who speaks what on it.

I/O: a transport of the event loop, which goes to another protocol with everything that has come (``hand_over``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyserve.front.context import Context

if TYPE_CHECKING:
    from pyserve.front.client_connection import ClientConnection


class Preface(asyncio.Protocol):
    """One of the front's connections, until it is handed over or ``deadline`` has come."""

    is_sheddable = False  # it is about to ask for something

    __slots__ = ("_context", "deadline", "transport")

    transport: asyncio.Transport

    def __init__(self, context: Context, timeout_s: float) -> None:
        """``timeout_s``: for all of it; ``head_timeout`` where that is less."""
        self._context = context
        self.deadline = context.now + min(timeout_s, context.limits.head_timeout_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._context.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.forget(self)

    def hand_over(self, protocol: ClientConnection | Preface, data: bytes) -> None:
        """Let another speak from now on; ``data`` is what it has to read first."""
        self._context.connections.discard(self)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if data:
            protocol.data_received(data)

    # What the front tells all its connections.

    def sweep(self, now: float) -> None:
        if now >= self.deadline:
            self.transport.abort()

    def close_idle(self) -> None:
        self.transport.close()

    def drain(self) -> None:
        """What it has to say is on its way, or the deadline is near."""

    def abort(self) -> None:
        self.transport.abort()
