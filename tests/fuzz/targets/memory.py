"""What a reader remembers of other requests never changes what it says of the next one.

The second half of an input is read by a reader that has seen the first, and by a fresh one.
"""

from __future__ import annotations

from tests.fuzz import parts
from tests.fuzz.chance import Chance
from tests.fuzz.fragments import DICTIONARY as FRAGMENTS
from tests.fuzz.reading import SMALL, assert_same, head_reader, read
from tests.fuzz.requests import make_stream

DICTIONARY = (*FRAGMENTS, parts.MARK)


def make(chance: Chance) -> bytes:
    """The second half is the first with its lines in another order, or in another case, or something new."""
    first = make_stream(chance)
    kind = chance.below(4)
    if kind == 0:
        return parts.join((first, make_stream(chance)))
    lines = first.split(b"\r\n")
    if kind < 3:
        for _ in range(1 + chance.below(4)):
            lines.insert(chance.below(len(lines)), lines.pop(chance.below(len(lines))))
    else:
        at = chance.below(len(lines))
        lines[at] = lines[at].swapcase()
    return parts.join((first, b"\r\n".join(lines)))


def seeds() -> tuple[bytes, ...]:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 2\r\n\r\nhi"
    return (parts.join((request, request)), parts.join((request, request.replace(b"X: y", b"X : y"))))


def check(data: bytes) -> None:
    seen, then = parts.split(data, 2)
    for parser in ("httptools", "h11"):
        old = head_reader(parser, SMALL)
        read([seen], old, SMALL)
        assert_same(
            read([then], old, SMALL), read([then], head_reader(parser, SMALL), SMALL), f"old or fresh, {parser}"
        )
