"""Read field lines with httptools (llhttp): the default. Pure.

It gets field lines only, in a head of their own: framing, bodies and pipelining stay ours (``http.head``, ``http.h1``),
so llhttp's ideas of upgrades and of bytes after ``Connection: close`` never matter. Leniencies are never set.
"""

from __future__ import annotations

import httptools

from pyserve.errors import RequestError
from pyserve.http.head import Field


class _Collector:
    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def parse_fields(lines: bytes) -> list[Field]:
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(b"GET / HTTP/1.1\r\n%b\r\n" % lines)
    except httptools.HttpParserError as error:
        raise RequestError(400, f"malformed field: {error}") from None
    return collector.fields
