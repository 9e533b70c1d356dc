"""Both parsers, httptools and h11, give equal requests and equal verdicts, at first and at second sight of a line.

Fresh readers, so that each parser is really asked; then the same ones again, which remember.
"""

from __future__ import annotations

from tests.fuzz.reading import assert_same, cut_anywhere, head_reader, read
from tests.fuzz.requests import make_stream as make

__all__ = ["check", "make"]


def check(data: bytes) -> None:
    llhttp, h11 = head_reader("httptools"), head_reader("h11")
    first = read([data], llhttp)
    assert_same(first, read([data], h11), "httptools or h11")
    assert_same(first, read([data], llhttp), "at first or at second sight")
    pieces = cut_anywhere(data, 1)
    assert_same(read(pieces, llhttp), read(pieces, h11), "httptools or h11, in pieces")
