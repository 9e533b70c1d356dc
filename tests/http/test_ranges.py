"""Range: what is asked for, what is sent, and what is too dear; and what stands around several parts."""

from __future__ import annotations

import email
import email.policy
import itertools
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.http.multipart import frame_parts, multipart_type
from pyserve.http.ranges import MAX_DESCENTS, MAX_OVERLAPS, MAX_RANGES, PART_COST_BYTES, Part, parse

BOUNDARY = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("value", "size", "parts"),
    [
        (b"bytes=0-0", 100, ((0, 1),)),
        (b"bytes=0-99", 100, ((0, 100),)),
        (b"bytes=0-100", 100, ((0, 100),)),
        (b"bytes=99-", 100, ((99, 1),)),
        (b"bytes=0-", 100, ((0, 100),)),
        (b"BYTES=1-2", 100, ((1, 2),)),
        (b"bytes= 1-2 ,", 100, ((1, 2),)),
        (b"bytes=0000000000000000000000000001-2", 100, ((1, 2),)),
        (b"bytes=5-" + b"9" * 5000, 100, ((5, 95),)),
        (b"bytes=-1", 100, ((99, 1),)),
        (b"bytes=-100", 100, ((0, 100),)),
        (b"bytes=-9223372036854775809", 100, ((0, 100),)),
        (b"bytes=100-", 100, ()),
        (b"bytes=100-200", 100, ()),
        (b"bytes=" + b"9" * 5000 + b"-", 100, ()),
        (b"bytes=-0", 100, ()),
        (b"bytes=0-", 0, None),
        (b"bytes=0-0", 0, None),
        (b"bytes=-5", 0, None),
        (b"bytes=-0", 0, None),
        (b"bytes=5-4", 100, None),
        (b"bytes=-", 100, None),
        (b"bytes=", 100, None),
        (b"", 100, None),
        (b"lines=0-1", 100, None),
        (b"bytes 0-1", 100, None),
        (b"bytes=+1-2", 100, None),
        (b"bytes=1_0-20", 100, None),
        (b"bytes=--1", 100, None),
        (b"bytes=0x1-2", 100, None),
        ("bytes=\u0660-\u0661".encode(), 100, None),
        (b"bytes=\xb2-\xb3", 100, None),
        (b"bytes=1 -2", 100, None),
        (b"bytes=0-0,-1", 100, None),
        (b"bytes=" + b"0-," * 1300, 100, None),
        (b"bytes=0-1\n", 100, None),
    ],
)
def test_one_range_is_honoured_and_what_is_none_means_the_whole(
    value: bytes, size: int, parts: tuple[Part, ...] | None
) -> None:
    assert parse(value, size) == parts


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"0-0,-1", ((0, 1), (9999, 1))),
        (b"-1,0-0", ((9999, 1), (0, 1))),  # in the order that was asked for (RFC 9110 §15.3.7.2)
        (b" 0-0 ,\t-1 ", ((0, 1), (9999, 1))),
        (b",, 0-0, ,,-1,", ((0, 1), (9999, 1))),
        (b"0-0,9999-", ((0, 1), (9999, 1))),
        (b"0-0,9999-20000", ((0, 1), (9999, 1))),
        (b"0-99,1000-1099,500-599", ((0, 100), (1000, 100), (500, 100))),
        (b"0-9,10-19", ((0, 20),)),  # adjacent
        (b"10-19,0-9", ((0, 20),)),
        (b"0-9,10-19,20-29,30-39,40-49", ((0, 50),)),  # adjacent ones don't overlap, however many
        (b"0-9,5-14", ((0, 15),)),
        (b"0-99,10-19", ((0, 100),)),
        (b"0-9,89-98", ((0, 99),)),  # a gap that is cheaper than a part
        (b"0-9,90-99", ((0, 10), (90, 10))),
        (b"0-9,1000-1009,1010-1019,0-4", ((0, 10), (1000, 20))),
        (b"1000-1009,0-9,1010-1019", ((1000, 20), (0, 10))),
        (b"1010-1019,0-9,1000-1009", ((1000, 20), (0, 10))),
        (b"0-9,20000-", ((0, 10),)),  # the other can't be satisfied
        (b"20000-,0-9,-0", ((0, 10),)),
        (b"20000-,10000-,-0", ()),
        (b"20000-,", ()),
        (b"0-,-1", None),  # all of it
        (b"0-4999,5000-", None),
        (b"-10000,20000-", None),
        (b",", None),
        (b" , ,", None),
        (b"0-9,bytes=20-29", None),
        (b"0-9;20-29", None),
        (b"0-9 20-29", None),
        (b"0-9,x", None),
        (b"0-9,-", None),
        (b"0-9,9-8", None),
        (b"20000-,9-8", None),
        (b"0-9,1_0-20", None),
        ("0-9,\u0661-\u0662".encode(), None),
        (b"0-9,\xb2-\xb3", None),
        (b"0-9,\x0b20-29", None),
        (b"0-9,200-\n", None),
    ],
)
def test_several_ranges_are_merged_where_that_is_cheaper_and_keep_their_order(
    value: bytes, parts: tuple[Part, ...] | None
) -> None:
    assert parse(b"bytes=" + value, 10_000) == parts


def test_any_part_of_nothing_is_all_of_it() -> None:
    assert parse(b"bytes=0-,-5", 0) is None
    assert parse(b"bytes=0-,1-", 0) is None


def spaced(count: int, step: int = 1000) -> list[bytes]:
    return [b"%d-%d" % (at * step, at * step + 9) for at in range(count)]


def field(specs: list[bytes]) -> bytes:
    return b"bytes=" + b",".join(specs)


def test_fifty_ranges_are_answered_and_more_get_the_whole() -> None:
    found = parse(field(spaced(MAX_RANGES)), 10**6)
    assert found is not None
    assert len(found) == MAX_RANGES == 50
    assert parse(field(spaced(MAX_RANGES + 1)), 10**6) is None
    assert parse(field([*spaced(MAX_RANGES), b"9999999-"]), 10**6) is None  # as asked
    assert parse(field([*spaced(2), *[b""] * 100]), 10**6) == ((0, 10), (1000, 10))
    assert parse(field([*spaced(2), *[b""] * 1000, b"1-2"]), 10**6) is None


def test_a_few_ranges_may_overlap_or_go_backwards() -> None:
    assert parse(field([b"0-99", *[b"50-59"] * MAX_OVERLAPS]), 10**6) == ((0, 100),)
    assert parse(field([b"0-99", *[b"50-59"] * (MAX_OVERLAPS + 1)]), 10**6) is None
    backwards = spaced(MAX_DESCENTS + 1)[::-1]
    found = parse(field(backwards), 10**6)
    assert found == tuple((at * 1000, 10) for at in range(MAX_DESCENTS, -1, -1))
    assert parse(field([b"99000-99009", *backwards]), 10**6) is None


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=" + b"0-," * 1300,
        b"bytes=0-" + b"".join([b",5-%d" % at for at in range(5, 1305)]),  # CVE-2011-3192
        b"bytes=" + b",".join([b"0-"] * MAX_RANGES),
        b"bytes=" + b",".join([b"-%d" % at for at in range(1, 50)]),
        b"bytes=" + b",".join([b"%d-" % at for at in range(40)]),
        b"bytes=-9223372036854775807,-9223372036854775808,-1,-2,-3",  # CVE-2017-7529
        b"bytes=0-0" + b"," * 30_000,
        b"bytes=" + b"9" * 30_000,
    ],
)
def test_what_costs_more_than_it_is_worth_gets_the_whole(value: bytes) -> None:
    assert parse(value, 100_000) is None


def test_parts_that_come_to_more_than_the_whole_are_the_whole() -> None:
    assert parse(b"bytes=0-9,-10", 20 + 2 * PART_COST_BYTES) == ((0, 10), (10 + 2 * PART_COST_BYTES, 10))
    assert parse(b"bytes=0-9,-10", 19 + 2 * PART_COST_BYTES) is None


positions = st.integers(0, 3000)
specs = st.one_of(
    st.builds(lambda first, more: (first, first + more), positions, st.integers(0, 400)),
    st.tuples(positions, st.none()),
    st.tuples(st.none(), positions),
)


def write(spec: tuple[int | None, int | None]) -> bytes:
    first, last = spec
    return (b"" if first is None else b"%d" % first) + b"-" + (b"" if last is None else b"%d" % last)


def asked_for(spec: tuple[int | None, int | None], size: int) -> set[int]:
    first, last = spec
    if first is None:
        return set(range(size)[size - min(last or 0, size) :])
    return set(range(first, size if last is None else min(last + 1, size)))


@settings(deadline=None)
@given(st.lists(specs, min_size=1, max_size=6), st.integers(1, 2500))
def test_parts_are_the_ranges_asked_for_and_small_gaps_between_them(
    wanted: list[tuple[int | None, int | None]], size: int
) -> None:
    sets = [asked_for(spec, size) for spec in wanted]
    union = set().union(*sets)
    parts = parse(field([write(spec) for spec in wanted]), size)
    if parts is None:
        # There is a reason: it would be all of it, or dear.
        total = sum(map(len, sets))
        assert len(wanted) > 1
        assert total > len(union) or len(union) + PART_COST_BYTES * len(wanted) > size
        return
    if not union:
        assert parts == ()
        return
    sent: set[int] = set()
    for first, count in parts:
        span = set(range(first, first + count))
        assert count > 0
        assert 0 <= first <= first + count <= size
        assert {first, first + count - 1} <= union
        assert not span & sent
        sent |= span
    assert union <= sent
    gaps = b"".join([b"x" if at in union else b"." for at in range(size) if at in sent])
    assert b"." * PART_COST_BYTES not in gaps
    ordered = sorted(parts)
    for (first, count), (following, _) in itertools.pairwise(ordered):
        assert following - first - count >= PART_COST_BYTES
    asked_at = [
        next(at for at, one in enumerate(sets) if one & set(range(first, first + count))) for first, count in parts
    ]
    assert asked_at == sorted(asked_at)
    if len(parts) > 1:
        assert len(sent) + PART_COST_BYTES * len(parts) <= size


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 500))
def test_no_field_leads_out_of_the_content(value: bytes, size: int) -> None:
    for field in (value, b"bytes=" + value, b"bytes=0-1," + value):
        for first, count in parse(field, size) or ():
            assert 0 <= first < first + count <= size


def test_parts_stand_between_boundaries_and_say_what_they_are() -> None:
    heads, tail, length = frame_parts([(0, 10), (9990, 10)], 10_000, b"text/plain", BOUNDARY)
    assert heads == [
        b"--0123456789abcdef\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-9/10000\r\n\r\n",
        b"\r\n--0123456789abcdef\r\ncontent-type: text/plain\r\ncontent-range: bytes 9990-9999/10000\r\n\r\n",
    ]
    assert tail == b"\r\n--0123456789abcdef--\r\n"
    assert length == len(heads[0]) + 10 + len(heads[1]) + 10 + len(tail)


def test_parts_of_what_has_no_type_have_none() -> None:
    (head,), _, _ = frame_parts([(5, 1)], 10, b"", BOUNDARY)
    assert head == b"--0123456789abcdef\r\ncontent-range: bytes 5-5/10\r\n\r\n"


@settings(deadline=None)
@given(st.lists(specs, min_size=2, max_size=6), st.binary(min_size=1000, max_size=2500))
def test_another_reader_finds_the_same_parts(wanted: list[tuple[int | None, int | None]], content: bytes) -> None:
    parts = parse(field([write(spec) for spec in wanted]), len(content))
    if not parts:
        return
    heads, tail, length = frame_parts(parts, len(content), b"image/png", BOUNDARY)
    body = b"".join([head + content[first : first + count] for head, (first, count) in zip(heads, parts, strict=True)])
    body += tail
    assert len(body) == length
    for text in body.split(b"--" + BOUNDARY)[1:-1]:
        assert text.startswith(b"\r\n")
        assert text.endswith(b"\r\n")
    head = b"content-type: %b\r\n\r\n" % multipart_type(BOUNDARY)
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    assert isinstance(message, EmailMessage)
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    found = list(message.iter_parts())
    assert [part["content-range"] for part in found] == [
        f"bytes {first}-{first + count - 1}/{len(content)}" for first, count in parts
    ]
    assert {part.get_content_type() for part in found} == {"image/png"}
