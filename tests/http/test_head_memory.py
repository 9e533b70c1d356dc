"""What a reader remembers never changes what it says: a fresh reader and one that has seen much agree on every head."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.errors import RequestError
from pyserve.http import h1_h11, h1_httptools
from pyserve.http.head import HeadReader

PARSERS = {"httptools": h1_httptools.parse_fields, "h11": h1_h11.parse_fields}
NAMES = [b"Host", b"host", b"X-A", b"x-a", b"Cookie", b"Connection", b"Content-Length", b"Transfer-Encoding", b"Expect"]
names = st.one_of(st.sampled_from(NAMES), st.binary(max_size=6))
values = st.one_of(
    st.sampled_from(
        [b" a", b" b.c:80", b" keep-alive", b" close", b" 5", b" chunked", b" 100-continue", b"\tx \t", b""]
    ),
    st.binary(max_size=8),
)
separators = st.sampled_from([b":", b":", b":", b" :", b"", b":\x85"])
lines = st.builds(lambda name, separator, value: name + separator + value, names, separators, values)
heads = st.lists(lines, max_size=6).map(
    lambda made: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(x + b"\r\n" for x in made)
)


def verdict(reader: HeadReader, raw: bytes) -> object:
    """Everything that a reader says of a head, or the status it refuses it with."""
    try:
        request = reader.read(raw)
    except RequestError as error:
        return error.status
    return (
        request.fields,
        request.host,
        request.path,
        request.keep_alive,
        request.content_length,
        request.is_chunked,
        request.expects_continue,
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(heads, min_size=1, max_size=4))
@pytest.mark.parametrize("parser", PARSERS)
def test_a_reader_that_has_seen_much_agrees_with_a_fresh_one(parser: str, seen: list[bytes]) -> None:
    old = HeadReader(PARSERS[parser], 100)
    for head in seen:
        raw = head + b"\r\n"
        if raw.index(b"\r\n\r\n") + 4 != len(raw):
            continue  # not one head
        assert verdict(old, raw) == verdict(HeadReader(PARSERS[parser], 100), raw)


@settings(max_examples=600, deadline=None)
@given(heads)
def test_both_parsers_give_equal_verdicts(head: bytes) -> None:
    raw = head + b"\r\n"
    if raw.index(b"\r\n\r\n") + 4 == len(raw):
        assert verdict(HeadReader(PARSERS["httptools"], 100), raw) == verdict(HeadReader(PARSERS["h11"], 100), raw)
