"""Of whatever headers an application gives, its worker makes a clean block or an error of the application's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyserve.http.response import is_clean_block
from pyserve.wire.codec import CLOSE, HAS_DATE, HAS_SERVER, UNKNOWN_LENGTH
from pyserve.worker import heads
from tests.fuzz import fragments as f
from tests.fuzz import parts
from tests.fuzz.chance import Chance, mostly, pick
from tests.fuzz.targets.answer_blocks import NAMES, NASTY_NAMES, check_clean

MORE_NAMES = (b"Content-Length", b"Date", b"Server", b"Connection", b"X-Y", b"Location", b"Content-Type", b"Expires")
STATUSES = (
    b"200 OK", b"404 Not Found", b"299 ", b"200", b"100 Continue", b"600 X", b"200 OK\r\nX: y", b"20x",
    b"\xb2\xb2\xb2 x", b"",
)  # fmt: skip
DICTIONARY = (
    *NAMES, *NASTY_NAMES[:9], *MORE_NAMES, *f.NUMBERS[:10], *f.NASTY_VALUES, *STATUSES[:-1], parts.MARK, b"\r\n",
)  # fmt: skip


def make(chance: Chance) -> bytes:
    """A status, then names and values in turn."""
    values = [mostly(chance, STATUSES[:3], STATUSES)]
    for _ in range(chance.below(6)):
        values.append(mostly(chance, MORE_NAMES + NAMES, NASTY_NAMES))
        values.append(mostly(chance, f.GOOD_VALUES, f.NASTY_VALUES) if chance.below(3) else pick(chance, f.NUMBERS))
    return parts.join(values)


def seeds() -> tuple[bytes, ...]:
    return (b"200 OK", parts.join((b"200 OK", b"Content-Type", b"text/plain", b"Content-Length", b"5")))


def check(data: bytes) -> None:
    status, *rest = data.split(parts.MARK)
    fields = list(zip(rest[::2], rest[1::2], strict=False))
    try:
        code = heads.parse_status(status.decode("latin-1"))
    except ValueError:
        code = 200
    assert 200 <= code < 600, "no final status"
    as_bytes = outcome(heads.byte_head, fields)
    as_text = outcome(heads.text_head, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields])
    assert as_bytes == as_text, "WSGI and ASGI headers differ"
    if as_bytes is None:
        return
    block, flags, length = as_bytes
    assert is_clean_block(block), "the front will refuse it"
    check_clean(block)
    assert length == UNKNOWN_LENGTH or 0 <= length < 10**18
    assert not flags & ~(CLOSE | HAS_DATE | HAS_SERVER)
    assert bool(flags & HAS_DATE) == (b"\r\ndate:" in b"\r\n" + block)
    assert bool(flags & HAS_SERVER) == (b"\r\nserver:" in b"\r\n" + block)
    assert outcome(heads.byte_head, fields) == as_bytes, "another head at second sight"


def outcome(make_head: Callable[[Any], heads.Head], fields: list[Any]) -> heads.Head | None:
    """Return the head, or None for headers that can't be sent."""
    try:
        return make_head(fields)
    except ValueError:
        return None
