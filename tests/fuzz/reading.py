"""What the reader says of bytes, however they are cut: the value that most targets compare.

Pure: cuts are derived from the bytes themselves, so a saved input is all that a replay needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pyserve.errors import RequestError
from pyserve.http import h1_h11, h1_httptools
from pyserve.http.h1 import END_OF_MESSAGE, NEED_DATA, Reader
from pyserve.http.head import FieldParser, HeadReader
from pyserve.http.request import Request
from pyserve.http.response import phrase

PARSERS: dict[str, FieldParser] = {"httptools": h1_httptools.parse_fields, "h11": h1_h11.parse_fields}
_FACTS = tuple(name for name in Request.__slots__ if name not in ("memo", "kind", "line_memo", "rest_memo"))
_SLACK_EVENTS = 8


class Limits(NamedTuple):
    head_bytes: int
    headers: int
    body_bytes: int


SMALL = Limits(1024, 12, 300)
"""So small that inputs of a fuzzer get there."""
LARGE = Limits(64 * 1024, 200, 1 << 62)
"""For comparisons with readers that have no such limits."""


class Message(NamedTuple):
    request: Request
    facts: tuple[object, ...]
    """All that the canonical request says."""
    body: bytes
    is_whole: bool
    end: int
    """Where it ends in all that was fed, if that came in one piece."""


class Reading(NamedTuple):
    messages: tuple[Message, ...]
    status: int
    """Of the refusal; 0 = none, more bytes are welcome."""
    reason: str


def head_reader(parser: str = "httptools", limits: Limits = LARGE) -> HeadReader:
    return HeadReader(PARSERS[parser], limits.headers)


def read(
    pieces: Iterable[bytes],
    heads: HeadReader,
    limits: Limits = LARGE,
    *,
    after_refusal: Callable[[Reader], None] | None = None,
) -> Reading:
    """Read all pieces as a connection would, to the refusal if there is one.

    Anything but an event or a ``RequestError`` comes out as it is. Raises ``AssertionError`` for more events than the
    bytes can mean.
    """
    reader = Reader(heads.read, limits.head_bytes, limits.headers)
    messages: list[Message] = []
    fed = count = 0
    try:
        for piece in pieces:
            reader.receive_data(piece)
            fed += len(piece)
            while (event := reader.next_event()) is not NEED_DATA:
                count += 1
                assert count <= 2 * fed + _SLACK_EVENTS, "more events than bytes"
                if isinstance(event, Request):
                    messages.append(Message(event, tuple(getattr(event, name) for name in _FACTS), b"", False, 0))
                    reader.allow_body(limits.body_bytes)
                elif event is END_OF_MESSAGE:
                    messages[-1] = messages[-1]._replace(is_whole=True, end=fed - reader.buffered)
                    reader.start_next_message()
                else:
                    assert isinstance(event, bytes), f"an event that is none: {event!r}"
                    assert event, "body data without a byte"
                    messages[-1] = messages[-1]._replace(body=messages[-1].body + event)
    except RequestError as error:
        check_refusal(error)
        if after_refusal is not None:
            after_refusal(reader)
        return Reading(tuple(messages), error.status, error.reason)
    return Reading(tuple(messages), 0, "")


def check_refusal(error: RequestError, statuses: Sequence[int] = range(400, 600)) -> None:
    assert error.status in statuses, f"refused with {error.status}"
    assert phrase(error.status) != "Status", f"no phrase for {error.status}"
    assert error.reason.isprintable() or error.reason.isascii(), "a reason that can't be logged"


def cuts(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Yield names and pieces: whole, byte by byte, at and in line ends, and in two ways that the bytes choose."""
    yield "whole", [data]
    yield "byte by byte", [data[at : at + 1] for at in range(len(data))]
    lines = data.split(b"\r\n")
    yield "at line ends", [*[line + b"\r\n" for line in lines[:-1]], lines[-1]]
    lines = data.split(b"\r")
    yield "inside line ends", [*[line + b"\r" for line in lines[:-1]], lines[-1]]
    yield "anywhere", cut_anywhere(data, 1)
    yield "anywhere else", cut_anywhere(data, 2)


def cut_anywhere(data: bytes, salt: int) -> list[bytes]:
    state = zlib.crc32(data, salt)
    pieces = []
    at = 0
    while at < len(data):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        stop = at + 1 + (state >> 16) % (3 if state & 256 else 60)
        pieces.append(data[at:stop])
        at = stop
    return pieces


def assert_same(one: Reading, other: Reading, where: str) -> None:
    """Equal requests, bodies, ends and verdicts.

    Of a body that is refused before its end, one may have had more than the other: what came before the bad byte is
    handed on or not by when it came, and nobody gets to see it as a whole body.
    """
    assert one.status == other.status, f"{where}: {one.status} ({one.reason}) or {other.status} ({other.reason})"
    assert len(one.messages) == len(other.messages), f"{where}: {len(one.messages)} or {len(other.messages)} requests"
    for left, right in zip(one.messages, other.messages, strict=True):
        assert left.facts == right.facts, f"{where}: different requests: {difference(left, right)}"
        assert left.is_whole == right.is_whole, f"{where}: one body is whole, the other is not"
        if left.is_whole or not one.status:
            assert left.body == right.body, f"{where}: different bodies"
        else:
            assert left.body.startswith(right.body) or right.body.startswith(left.body), f"{where}: different bodies"


def difference(left: Message, right: Message) -> str:
    return ", ".join(
        f"{name} {one!r} or {other!r}"
        for name, one, other in zip(_FACTS, left.facts, right.facts, strict=True)
        if one != other
    )
