"""Step 4 of the request path, handler ``redirect``: send the client elsewhere.

Pure. ``{rest}`` and named groups go into ``to`` percent-encoded for the place where they stand, so that a request can
choose neither host nor header; the query is kept unless ``to`` has one.
"""

from __future__ import annotations

import re

from pyserve.config.model import Redirect
from pyserve.handlers.interface import FOREVER, Exchange, Handler
from pyserve.http.location import AS_WRITTEN, PATH, WHOLE, encode, encode_text, local_reference
from pyserve.routing.router import Match

_PLACE = re.compile(r"\{(\w+)\}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_IN_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//[^/?#]*")


class RedirectHandler:
    """``to`` cut once into literal bytes and places to fill: a place is a name and the table for its position."""

    __slots__ = ("_fragment", "_keeps_query", "_pieces", "_status")

    def __init__(self, redirect: Redirect) -> None:
        to = redirect.to
        if not to.startswith("/") and _SCHEME.match(to) is None:
            to = "/" + to  # otherwise "{rest}" alone would let a request write the whole URL
        before_fragment, mark, fragment = to.partition("#")
        self._status = redirect.status
        self._keeps_query = "?" not in before_fragment
        self._pieces = _cut(before_fragment)
        self._fragment = _cut(mark + fragment, inside="fragment")

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        location = _fill(self._pieces, match)
        query = exchange.request.query
        if query and self._keeps_query:
            location += b"?" + encode(query, AS_WRITTEN)
        location = local_reference(location + _fill(self._fragment, match))
        exchange.send(self._status, b"location: %b\r\n" % location, b"", same=FOREVER)


_Place = tuple[str, tuple[bytes, ...]]


def _cut(template: str, inside: str = "") -> list[bytes | _Place]:
    pieces: list[bytes | _Place] = []
    end = 0
    for place in _PLACE.finditer(template):
        before = template[: place.start()]
        pieces.append(encode_text(template[end : place.start()], AS_WRITTEN))
        is_whole = inside == "fragment" or "?" in before or _IN_AUTHORITY.fullmatch(before) is not None
        pieces.append((place[1], WHOLE if is_whole else PATH))
        end = place.end()
    pieces.append(encode_text(template[end:], AS_WRITTEN))
    return pieces


def _fill(pieces: list[bytes | _Place], match: Match[Handler]) -> bytes:
    filled = b""
    for piece in pieces:
        if isinstance(piece, bytes):
            filled += piece
        else:
            name, table = piece
            # A rest that still begins with a slash came from "/old//x": the slash before it is in `to`.
            value = match.groups.get("rest", match.rest).lstrip("/") if name == "rest" else match.groups.get(name, "")
            filled += encode_text(value, table)
    return filled
