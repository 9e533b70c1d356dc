"""What a site or route changes about every answer, made ready once.

Pure. A request pays for what is not there with one look at an empty value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from pyserve.config import model
from pyserve.http.request import Request
from pyserve.wire.codec import HAS_SERVER

if TYPE_CHECKING:
    from pyserve.handlers.interface import FailedExchange


class ErrorPage(Protocol):
    """What answers instead of the built-in page."""

    def answer(self, exchange: FailedExchange, status: int, block: bytes, incident: str) -> None:
        """Answer with this status, at once or later. ``block``: lines that the built-in page would have had beside its
        own; ``incident``: "" for 4xx."""


class Modifiers:
    """``lines`` go into every answer, instead of the handler's lines with a name in ``dropped``."""

    __slots__ = ("compress", "dropped", "flags", "hinting", "hints", "lines", "pages")

    def __init__(
        self,
        lines: bytes = b"",
        dropped: frozenset[bytes] = frozenset(),
        hints: bytes = b"",
        compress: model.Compress | None = None,
        pages: Mapping[int, ErrorPage] | None = None,
    ) -> None:
        self.lines = lines
        self.dropped = dropped
        self.flags = HAS_SERVER if b"server" in dropped else 0
        """Of ``wire.codec``: lines that the transport must not add."""
        self.compress = compress
        self.pages = pages
        self.hints = hints
        """The lines of a 103 answer (RFC 8297), b"" = none."""
        self.hinting: Modifiers | None = None
        """The same for a request that hints are for: its answer has them too, for whoever ignores a 103."""

    def for_request(self, request: Request) -> Modifiers:
        """Return what hints of the config are in, where this request is to have any."""
        return self if self.hinting is None or not asks_for_page(request) else self.hinting

    def without_pages(self) -> Modifiers:
        """Return the same for an answer that is an error page itself: whatever becomes of it, no other is asked for."""
        return Modifiers(self.lines, self.dropped, b"", self.compress)

    def without_lines(self) -> Modifiers:
        """Return the rest for an answer whose block has the lines already."""
        return _NAMED if self.flags else PLAIN

    def strip(self, block: bytes) -> bytes:
        """Return a handler's lines without those that the config replaces."""
        dropped = self.dropped
        lines = block.split(b"\r\n")
        return b"\r\n".join([line for line in lines if line[: line.find(b":")] not in dropped or not line])


def asks_for_page(request: Request) -> bool:
    """Hints are for pages: what a browser asks for on behalf of one needs none."""
    mode = request.field(b"sec-fetch-mode")
    return mode is None or mode == b"navigate"


_BESIDE = ("set-cookie", "vary")

PLAIN = Modifiers()
_NAMED = Modifiers()
_NAMED.flags = HAS_SERVER


def prepare(configured: model.Modifiers, pages: Mapping[int, ErrorPage] | None = None) -> Modifiers | None:
    """``pages``: status to page, None = none configured. Returns None where nothing is modified.

    A cookie is set beside those of an application, whose sessions would be lost otherwise, and Vary beside what the
    answer varies by, which caches have to know; any other field is replaced. "" takes even those away.
    """
    if configured == model.Modifiers():
        return None
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in configured.headers if value)
    dropped = frozenset(name.encode() for name, value in configured.headers if not value or name not in _BESIDE)
    compress = configured.compress
    modifiers = Modifiers(lines, dropped, b"", compress, pages)
    if configured.early_hints:
        links = b"".join(b"link: %b\r\n" % link.encode() for link in configured.early_hints)
        modifiers.hinting = Modifiers(lines + links, dropped, links, compress, pages)
    return modifiers
