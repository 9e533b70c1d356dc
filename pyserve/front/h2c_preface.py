"""Step 3 of the request path, where clear text may be HTTP/2: the first bytes of a connection say which it is.

I/O: a transport of the event loop, which goes to an ``H2Connection`` or a ``Connection`` with all that has come. A
client that begins with the connection preface (RFC 9113 §3.3, §3.4: prior knowledge) speaks HTTP/2, any other HTTP/1;
``Upgrade: h2c`` is not offered (RFC 9113 §3.1 has given it up).
"""

from __future__ import annotations

import asyncio
from typing import cast

from pyserve.front.connection import Connection
from pyserve.front.context import Context
from pyserve.front.h2_connection import H2Connection
from pyserve.http.h2.frames import PREFACE
from pyserve.wire.codec import Peer


class H2cPreface(asyncio.Protocol):
    """One of the front's connections, until it has said three bytes or more."""

    is_sheddable = False  # it is about to ask for something

    def __init__(self, context: Context, given: Peer | None = None) -> None:
        self._context = context
        self._given = given
        self._received = b""
        self.deadline = context.now + context.limits.head_timeout_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._context.add(self)

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        if PREFACE.startswith(data[: len(PREFACE)]):
            if len(data) < len(PREFACE):
                self._received = data
                return
            self._hand_over(H2Connection(self._context, self._given), data)
        else:
            self._hand_over(Connection(self._context, self._given), data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.forget(self)

    def _hand_over(self, connection: Connection | H2Connection, data: bytes) -> None:
        self._context.connections.discard(self)
        connection.deadline = self.deadline
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)
        connection.data_received(data)

    # What the front tells all its connections.

    def sweep(self, now: float) -> None:
        if now >= self.deadline:
            self.transport.abort()

    def close_idle(self) -> None:
        self.transport.close()

    def drain(self) -> None:
        """What it asks for is on its way, or the deadline is near."""

    def abort(self) -> None:
        self.transport.abort()
