"""Step 4 of the request path: what none of a site's routes takes, on a site without a handler of its own. Pure."""

from __future__ import annotations

from pyserve.handlers.interface import Exchange, Handler
from pyserve.routing.router import Match


class NothingHandler:
    __slots__ = ()

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        exchange.fail(404, "no route takes this path")
