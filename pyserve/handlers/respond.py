"""Step 4 of the request path, handler ``respond``: a fixed answer from the config.

Pure. Everything is made ready once; a request costs one call.
"""

from __future__ import annotations

from pyserve.config.model import Respond
from pyserve.handlers.interface import FOREVER, Exchange, Handler
from pyserve.http.response import has_no_body
from pyserve.routing.router import Match


class RespondHandler:
    __slots__ = ("_block", "_body", "_status")

    def __init__(self, respond: Respond) -> None:
        self._status = respond.status
        if has_no_body(respond.status):
            self._block = self._body = b""
            return
        self._body = respond.body.encode("utf-8", "surrogateescape")
        content_type = "".join(character for character in respond.type if character.isprintable())
        self._block = b"content-type: %b\r\n" % content_type.encode("latin-1", "replace")

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        exchange.send(self._status, self._block, self._body, same=FOREVER)
