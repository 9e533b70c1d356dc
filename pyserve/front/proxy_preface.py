"""Step 3 of the request path, on listeners with ``proxy_protocol``: who connected is read before anything else.

I/O: a transport of the event loop, which goes to what is spoken there with all behind the header. A peer that is no
trusted proxy is closed without a word, and so is one that writes anything but a header, or none in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pyserve.errors import RequestError
from pyserve.front.client_connection import ClientConnection
from pyserve.front.context import Context
from pyserve.front.h1.connection import Connection
from pyserve.front.preface import Preface
from pyserve.http.proxy_protocol import Proxied, ProxyHeader
from pyserve.wire.codec import Peer

HEADER_TIMEOUT_S = 5.0


class ProxyPreface(Preface):
    __slots__ = ("_header", "_then")

    def __init__(
        self, context: Context, then: Callable[[Context, Peer | None], ClientConnection | Preface] = Connection
    ) -> None:
        """``then``: makes what takes the connection over, by both ends as the header named them."""
        super().__init__(context, HEADER_TIMEOUT_S)
        self._then = then
        self._header = ProxyHeader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        context = self._context
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
            self.hand_over(self._then(self._context, self._peer_of(proxied)), self._header.leftover)

    def _peer_of(self, proxied: Proxied) -> Peer | None:
        if proxied.source is None:
            return None
        own = self.transport.get_extra_info("sockname")
        server = proxied.destination or (own[:2] if isinstance(own, tuple) else ("", None))
        return Peer(proxied.source, server, proxied.scheme)

    def _refuse(self, address: str | None, why: str) -> None:
        self._context.error_log.seldom(
            "warning", ("proxy protocol", why), f"closed a connection of {address or 'a Unix socket'}: {why}"
        )
        self.transport.abort()
