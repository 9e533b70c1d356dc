"""Step 4 of the request path: ``OPTIONS *`` is about the server, not about what a site has (RFC 9110 §9.3.7). Pure."""

from __future__ import annotations

from pyserve.handlers.interface import FOREVER, Exchange, Handler
from pyserve.http.head import METHODS
from pyserve.routing.router import Match


class ServerOptionsHandler:
    __slots__ = ("_block",)

    def __init__(self) -> None:
        self._block = b"allow: %b\r\n" % ", ".join(METHODS.values()).encode()

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        exchange.send(204, self._block, b"", same=FOREVER)
