"""Any bytes, cut in any way, give the same requests and the same verdict; nothing is read after a refusal.

A verdict is "more, please" or a ``RequestError`` with a status that has a phrase; events are never more than bytes.
Limits are small here, so that inputs get to them.
"""

from __future__ import annotations

from tests.fuzz.reading import SMALL, assert_same, cuts, head_reader, read
from tests.fuzz.requests import make_stream as make

__all__ = ["check", "make"]


def check(data: bytes) -> None:
    first = None
    for name, pieces in cuts(data):
        reading = read(pieces, head_reader(limits=SMALL), SMALL)
        if first is None:
            first = reading
        else:
            assert_same(first, reading, f"whole or {name}")
