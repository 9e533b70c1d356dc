"""Split a request head with httptools (llhttp): the default. Pure.

It gets heads only, each into a parser of its own: framing, bodies and pipelining stay ours (``http.h1``), so llhttp's
ideas of upgrades and of bytes after ``Connection: close`` never matter. Leniencies are never set.
"""

from __future__ import annotations

import httptools

from pyserve.errors import RequestError
from pyserve.http.head import RawHead


class _Collector:
    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def parse_head(raw: bytes) -> RawHead:
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the head is complete; whether to upgrade is not the parser's decision
    except httptools.HttpParserError as error:
        raise RequestError(400, f"malformed head: {error}") from None
    return parser.get_method(), collector.target, collector.fields
