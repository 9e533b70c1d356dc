"""Conditional requests and ranges: tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.http.conditional import (
    Conditions,
    Outcome,
    decide,
    format_date,
    parse_date,
    read_conditions,
)

ETAG = b'"abc-10"'
MTIME_S = 784111777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Mon, 07 Nov 1994 08:49:37 GMT"
WHOLE = Outcome(200, 0, 100)
UNCHANGED = Outcome(304, 0, 0)
FAILED = Outcome(412, 0, 0)


@pytest.mark.parametrize(
    ("conditions", "outcome"),
    [
        (Conditions(none_match=ETAG), UNCHANGED),
        (Conditions(none_match=b"W/" + ETAG), UNCHANGED),
        (Conditions(none_match=b"*"), UNCHANGED),
        (Conditions(none_match=b'"x", ' + ETAG + b' , W/"y"'), UNCHANGED),
        (Conditions(none_match=b', ,"x",,' + ETAG), UNCHANGED),
        (Conditions(none_match=b'"x"'), WHOLE),
        (Conditions(none_match=b""), WHOLE),
        (Conditions(none_match=b"abc-10"), WHOLE),
        (Conditions(none_match=b'x "abc-10"'), WHOLE),
        (Conditions(none_match=b'"x" "abc-10"'), WHOLE),
        (Conditions(none_match=b'"a,' + ETAG), WHOLE),
        (Conditions(none_match=b'"x"', modified_since=LATER), WHOLE),  # If-None-Match wins
        (Conditions(none_match=ETAG, modified_since=EARLIER), UNCHANGED),
        (Conditions(modified_since=DATE), UNCHANGED),
        (Conditions(modified_since=LATER), UNCHANGED),
        (Conditions(modified_since=EARLIER), WHOLE),
        (Conditions(modified_since=b"yesterday"), WHOLE),
        (Conditions(modified_since=DATE + b", " + DATE), WHOLE),
        (Conditions(match=ETAG), WHOLE),
        (Conditions(match=b"*"), WHOLE),
        (Conditions(match=b'"x", ' + ETAG), WHOLE),
        (Conditions(match=b"W/" + ETAG), FAILED),  # strong comparison
        (Conditions(match=b'"x"'), FAILED),
        (Conditions(match=ETAG, unmodified_since=EARLIER), WHOLE),  # If-Match wins
        (Conditions(match=b'"x"', none_match=ETAG), FAILED),
        (Conditions(unmodified_since=DATE), WHOLE),
        (Conditions(unmodified_since=EARLIER), FAILED),
        (Conditions(unmodified_since=b"nonsense"), WHOLE),
        (Conditions(match=ETAG, none_match=ETAG), UNCHANGED),
        (Conditions(range=b"bytes=0-9"), Outcome(206, 0, 10)),
        (Conditions(range=b"bytes=0-9", none_match=ETAG), UNCHANGED),
        (Conditions(range=b"bytes=0-9", if_range=ETAG), Outcome(206, 0, 10)),
        (Conditions(range=b"bytes=0-9", if_range=b"W/" + ETAG), WHOLE),
        (Conditions(range=b"bytes=0-9", if_range=b'"old"'), WHOLE),
        (Conditions(range=b"bytes=0-9", if_range=DATE), Outcome(206, 0, 10)),
        (Conditions(range=b"bytes=0-9", if_range=EARLIER), WHOLE),
        (Conditions(range=b"bytes=0-9", if_range=LATER), WHOLE),
        (Conditions(range=b"bytes=0-9", if_range=b""), WHOLE),
        (Conditions(range=b"bytes=900-", if_range=b'"old"'), WHOLE),
        (Conditions(if_range=ETAG), WHOLE),
    ],
)
def test_conditions_decide_in_the_order_of_the_rfc(conditions: Conditions, outcome: Outcome) -> None:
    assert decide(conditions, ETAG, MTIME_S, 100, is_get=True) == outcome


def test_a_range_means_nothing_to_head() -> None:
    assert decide(Conditions(range=b"bytes=0-9"), ETAG, MTIME_S, 100, is_get=False) == WHOLE


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (b"bytes=-1", Outcome(206, 9_999, 1)),
        (b"bytes=0-9,5-19", Outcome(206, 0, 20)),
        (b"bytes=10000-,0-1", Outcome(206, 0, 2)),
        (b"bytes=0-0,-1", Outcome(206, 0, 0, ((0, 1), (9_999, 1)))),
        (b"bytes=-1,0-0", Outcome(206, 0, 0, ((9_999, 1), (0, 1)))),
        (b"bytes=10000-", Outcome(416, 0, 0)),
        (b"bytes=10000-,20000-", Outcome(416, 0, 0)),
        (b"bytes=0-0,x", Outcome(200, 0, 10_000)),
        (b"bytes=" + b"0-," * 1300, Outcome(200, 0, 10_000)),
    ],
)
def test_a_range_is_one_span_several_are_parts(value: bytes, outcome: Outcome) -> None:
    assert decide(Conditions(range=value), ETAG, MTIME_S, 10_000, is_get=True) == outcome
    assert decide(Conditions(range=value, if_range=ETAG), ETAG, MTIME_S, 10_000, is_get=True) == outcome


@pytest.mark.parametrize(
    ("conditions", "outcome"),
    [
        (Conditions(none_match=ETAG), UNCHANGED),
        (Conditions(none_match=b"W/" + ETAG), UNCHANGED),
        (Conditions(none_match=b'"x", W/' + ETAG), UNCHANGED),
        (Conditions(none_match=b'W/"x"'), WHOLE),
        (Conditions(none_match=b"w/" + ETAG), WHOLE),
        (Conditions(match=b"W/" + ETAG), FAILED),
        (Conditions(match=ETAG), FAILED),
        (Conditions(match=b'"x", ' + ETAG), FAILED),
        (Conditions(match=b"*"), WHOLE),
        (Conditions(unmodified_since=DATE), WHOLE),
        (Conditions(modified_since=DATE), UNCHANGED),
        (Conditions(range=b"bytes=0-9"), Outcome(206, 0, 10)),
        (Conditions(range=b"bytes=0-9", if_range=b"W/" + ETAG), WHOLE),
        (Conditions(range=b"bytes=0-9", if_range=ETAG), WHOLE),
        (Conditions(range=b"bytes=0-9", if_range=DATE), WHOLE),
        (Conditions(range=b"bytes=0-9,20-", if_range=b"W/" + ETAG), WHOLE),
    ],
)
def test_a_weak_tag_of_ours_is_enough_for_304_and_for_nothing_else(conditions: Conditions, outcome: Outcome) -> None:
    assert decide(conditions, b"W/" + ETAG, MTIME_S, 100, is_get=True) == outcome


@pytest.mark.parametrize("etag", [ETAG, b"W/" + ETAG])
@pytest.mark.parametrize(
    "value",
    [
        ETAG[1:],
        ETAG[:-1],
        b"x" + ETAG,
        ETAG + b"x",
        ETAG + b' "x"',
        b'W/ "abc-10"',
        b'W"abc-10"',
        b'"x", *',
        b"**",
        b'"a\x00b", ' + ETAG,
        b'"a\x7fb", ' + ETAG,
        b'"xabc-10"',
        b"'abc-10'",
        b'""',
        b'"," ,"abc-10",' * 1000 + b"x",
    ],
)
def test_a_broken_list_has_no_tag(value: bytes, etag: bytes) -> None:
    assert decide(Conditions(none_match=value), etag, MTIME_S, 100, is_get=True) == WHOLE
    assert decide(Conditions(match=value), etag, MTIME_S, 100, is_get=True) == FAILED


@pytest.mark.parametrize("etag", [b'""', b'"a,b"', b'"a,\\"', b'"\xff!"'])
def test_a_tag_may_have_commas_and_backslashes_and_be_empty(etag: bytes) -> None:
    for value in (etag, b'"x",' + etag, etag + b', W/"x"'):
        assert decide(Conditions(none_match=value), etag, MTIME_S, 100, is_get=True) == UNCHANGED
        assert decide(Conditions(match=value), etag, MTIME_S, 100, is_get=True) == WHOLE


opaque_tags = st.binary(max_size=4).map(lambda text: b'"%b"' % text.translate(None, bytes([*range(0x21), 0x22, 0x7F])))
tags = st.tuples(st.sampled_from([b"", b"W/"]), st.one_of(st.sampled_from([b'"a"', b'"b"', b'","']), opaque_tags))


@settings(deadline=None)
@given(st.lists(tags, max_size=5), tags, st.sampled_from([b",", b", ", b" ,\t", b",,", b" , , "]))
def test_a_list_of_tags_is_searched_by_the_comparison_that_its_field_needs(
    listed: list[tuple[bytes, bytes]], ours: tuple[bytes, bytes], separator: bytes
) -> None:
    value = separator.join([prefix + opaque for prefix, opaque in listed])
    is_weakly_listed = ours[1] in [opaque for _, opaque in listed]
    is_strongly_listed = not ours[0] and (b"", ours[1]) in listed
    etag = ours[0] + ours[1]
    assert decide(Conditions(none_match=value), etag, 0, 100, is_get=True).status == (304 if is_weakly_listed else 200)
    assert decide(Conditions(match=value), etag, 0, 100, is_get=False).status == (200 if is_strongly_listed else 412)


def test_a_request_without_conditions_has_none() -> None:
    assert read_conditions([(b"host", b"a"), (b"if-modified", b"x"), (b"ranges", b"y")]) is None


def test_every_conditional_field_is_collected_and_lines_of_one_name_are_joined() -> None:
    fields = [
        (b"if-none-match", b'"a"'),
        (b"range", b"bytes=0-1"),
        (b"if-none-match", b'"b"'),
        (b"if-match", b"*"),
        (b"if-modified-since", DATE),
        (b"if-unmodified-since", LATER),
        (b"if-range", b'"c"'),
    ]
    assert read_conditions(fields) == Conditions(b"*", b'"a", "b"', DATE, LATER, b'"c"', b"bytes=0-1")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (DATE, MTIME_S),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", MTIME_S),
        (b"Sun Nov  6 08:49:37 1994", MTIME_S),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
        (b"Friday, 01-Jan-27 00:00:00 GMT", 1798761600),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228799),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
        (b"Sun, 06 Nov 1994 08:49:37 GMT ", None),
        (b"Sun, 06 Xxx 1994 08:49:37 GMT", None),
        (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("Sun, \u0660\u0666 Nov 1994 08:49:37 GMT".encode(), None),
        (b"0", None),
        (b"", None),
    ],
)
def test_the_three_forms_of_a_date_are_read(value: bytes, seconds: int | None) -> None:
    assert parse_date(value) == seconds


@pytest.mark.parametrize(
    ("seconds", "value"),
    [(MTIME_S + 0.9, DATE), (-5, b"Thu, 01 Jan 1970 00:00:00 GMT"), (1e18, b"Fri, 31 Dec 9999 23:59:59 GMT")],
)
def test_a_date_is_written_in_the_fixed_form(seconds: float, value: bytes) -> None:
    assert format_date(seconds) == value
