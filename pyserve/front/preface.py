"""Step 3 of the request path, on listeners with ``proxy_protocol``: who connected is read before anything else.

I/O: a transport of the event loop, which goes to what is spoken there with all behind the header. A peer that is no
trusted proxy is closed without a word, and so is one that writes anything but a header, or none in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from pyserve.errors import RequestError
from pyserve.front.connection import Connection
from pyserve.front.context import Context
from pyserve.http.proxy_protocol import Proxied, ProxyHeader
from pyserve.wire.codec import Peer

HEADER_TIMEOUT_S = 5.0


class ProxyPreface(asyncio.Protocol):
    """One of the front's connections, as long as it lasts."""

    is_sheddable = False  # it is about to ask for something

    def __init__(self, context: Context, then: Callable[[Context, Peer | None], asyncio.Protocol] = Connection) -> None:
        """``then``: makes what takes the connection over, by both ends as the header named them."""
        self._context = context
        self._then = then
        self._header = ProxyHeader()
        self.deadline = context.now + min(HEADER_TIMEOUT_S, context.limits.head_timeout_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        context = self._context
        context.add(self)
        name = transport.get_extra_info("peername")
        address = name[0] if isinstance(name, tuple) else None
        if context.proxies is None or not context.proxies.trust(address):
            self._refuse(address, "it is none of trusted_proxies")

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        try:
            proxied = self._header.receive_data(data)
        except RequestError as error:
            name = self.transport.get_extra_info("peername")
            self._refuse(name[0] if isinstance(name, tuple) else None, error.reason)
            return
        if proxied is not None:
            self._hand_over(proxied)

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.forget(self)

    def _hand_over(self, proxied: Proxied) -> None:
        context = self._context
        own = self.transport.get_extra_info("sockname")
        peer = None
        if proxied.source is not None:
            server = proxied.destination or (own[:2] if isinstance(own, tuple) else ("", None))
            peer = Peer(proxied.source, server, proxied.scheme)
        context.connections.discard(self)
        connection = self._then(context, peer)
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)
        if self._header.leftover:
            connection.data_received(self._header.leftover)

    def _refuse(self, address: str | None, why: str) -> None:
        self._context.error_log.seldom(
            "warning", ("proxy protocol", why), f"closed a connection of {address or 'a Unix socket'}: {why}"
        )
        self.transport.abort()

    # What the front tells all its connections.

    def sweep(self, now: float) -> None:
        if now >= self.deadline:
            self.transport.abort()

    def close_idle(self) -> None:
        self.transport.close()

    def drain(self) -> None:
        """The header is on its way, or the deadline is near."""

    def abort(self) -> None:
        self.transport.abort()
