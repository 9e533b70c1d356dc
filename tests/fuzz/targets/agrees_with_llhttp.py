"""What we accept as a request, a whole llhttp parser accepts as the same one: fields, body and end.

Differences that are no fault of ours stand in ``peers.EXPLAINED``, each with its reason.
"""

from __future__ import annotations

from tests.fuzz.peers import assert_agreement
from tests.fuzz.reading import head_reader, read
from tests.fuzz.requests import make_stream as make

__all__ = ["check", "make"]


def check(data: bytes) -> None:
    start = 0
    for message in read([data], head_reader()).messages:
        if message.is_whole:
            assert_agreement("llhttp", message, data[start : message.end], data[message.end :])
            start = message.end
