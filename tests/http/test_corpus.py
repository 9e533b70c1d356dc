"""Every case of tests/corpus/ through both parsers, however it is cut, alone and with a request right behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from pyserve.config.model import Limits
from pyserve.errors import RequestError
from pyserve.http import h1_h11, h1_httptools
from pyserve.http.h1 import END_OF_MESSAGE, NEED_DATA, Reader
from pyserve.http.head import HeadReader
from pyserve.http.hidden import visible_fields
from pyserve.http.request import Request
from tests.support import corpus
from tests.support.corpus import Case

CASES = corpus.load()
LIMITS = Limits()
PARSERS = {"httptools": h1_httptools.parse_fields, "h11": h1_h11.parse_fields}
NEXT = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
LONG_BYTES = 4096
"""From here on "byte by byte" means so many bytes at once."""


class Reading:
    """``messages``: (every attribute of the head, the whole body); ``begun``: the one that did not end, without its
    body; ``status``: of the refusal, 0 = none; ``is_in_the_middle``: what came is not a whole number of messages.
    """

    def __init__(self, pieces: Iterable[bytes], heads: HeadReader) -> None:
        self.messages: list[tuple[dict[str, Any], bytes]] = []
        self.requests: list[Request] = []
        self.begun: dict[str, Any] | None = None
        self.status = 0
        reader = Reader(heads.read, LIMITS.max_head_bytes, LIMITS.max_headers)
        try:
            for piece in pieces:
                reader.receive_data(piece)
                self._take_events(reader)
        except RequestError as error:
            self.status = error.status
        self.is_in_the_middle = not reader.is_between_messages

    def _take_events(self, reader: Reader) -> None:
        while (event := reader.next_event()) is not NEED_DATA:
            if isinstance(event, Request):
                assert self.begun is None
                self.requests.append(event)
                self.begun = attributes(event)
                self._body: list[bytes] = []
                reader.allow_body(corpus.MAX_BODY_BYTES)
            elif isinstance(event, bytes):
                assert self.begun is not None
                assert event
                self._body.append(event)
            else:
                assert event is END_OF_MESSAGE
                assert self.begun is not None
                self.messages.append((self.begun, b"".join(self._body)))
                self.begun = None
                reader.start_next_message()

    @property
    def events(self) -> tuple[object, ...]:
        return self.messages, self.begun, self.status, self.is_in_the_middle if not self.status else None

    @property
    def texts(self) -> list[str]:
        return [f"{head['method']} {head['path']} {body.decode('latin-1')}" for head, body in self.messages]


def attributes(request: Request) -> dict[str, Any]:
    """All that a request says; the two others are places for what the front remembers beside it."""
    return {
        name: getattr(request, name)
        for name in Request.__slots__
        if name not in ("memo", "kind", "line_memo", "rest_memo")
    }


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    size = 1 if len(data) < LONG_BYTES else 1000
    return (data[at : at + size] for at in range(0, len(data), size))


def at_line_ends(data: bytes) -> Iterator[bytes]:
    return cut_behind(b"\r\n", data)


def inside_line_ends(data: bytes) -> Iterator[bytes]:
    return cut_behind(b"\r", data)


def cut_behind(mark: bytes, data: bytes) -> Iterator[bytes]:
    at = 0
    while end := data.find(mark, at) + len(mark):
        if end < len(mark):
            break
        yield data[at:end]
        at = end
    if at < len(data):
        yield data[at:]


CUTS: list[Callable[[bytes], Iterable[bytes]]] = [whole, byte_by_byte, at_line_ends, inside_line_ends]


def check(case: Case, reading: Reading, behind: bytes) -> None:
    texts = [*case.requests, "GET /behind "] if case.is_good and behind else [*case.requests]
    assert (reading.texts, reading.status) == (texts, case.status)
    kept = [head["keep_alive"] for head, _ in reading.messages[: len(case.requests)]]
    assert kept == [True] * (len(kept) - 1) + ([not case.closes] if kept else [])
    begun = reading.begun
    assert (f"{begun['method']} {begun['path']}" if begun else "") == case.begun
    if not case.status and not (case.truncated and case.requests):
        assert reading.is_in_the_middle == (case.truncated and bool(case.data))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_parsers_read_the_same_however_the_bytes_come(case: Case) -> None:
    for behind in (b"",) if case.truncated else (b"", NEXT):
        data = case.data + behind
        first = None
        for cut in CUTS:
            for name, parse in PARSERS.items():
                reading = Reading(cut(data), HeadReader(parse, LIMITS.max_headers))
                if first is None:
                    first = reading
                    check(case, reading, behind)
                assert reading.events == first.events, f"{cut.__name__}, by {name}, other than {CUTS[0].__name__}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_remembered_of_a_head_changes_nothing(case: Case) -> None:
    for parse in PARSERS.values():
        heads = HeadReader(parse, LIMITS.max_headers)
        first, second = Reading([case.data], heads), Reading([case.data], heads)
        assert first.events == second.events
        assert first.events == Reading(byte_by_byte(case.data), heads).events


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("case", [case for case in CASES if case.shows or case.hides], ids=lambda case: case.name)
def test_an_application_sees_the_fields_that_it_may_see(case: Case, parser: str) -> None:
    request = Reading([case.data], HeadReader(PARSERS[parser], LIMITS.max_headers)).requests[0]
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in visible_fields(request)]
    shown = {name for name, _ in case.shows}
    assert sorted(field for field in fields if field[0] in shown) == sorted(case.shows)
    assert not case.hides & {name for name, _ in fields}
