"""Conditional requests and ranges: tables."""

from __future__ import annotations

import pytest

from pyserve.http.conditional import (
    Conditions,
    Outcome,
    decide,
    find_range,
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
    ("value", "size", "outcome"),
    [
        (b"bytes=0-0", 100, (206, 0, 1)),
        (b"bytes=0-99", 100, (206, 0, 100)),
        (b"bytes=0-100", 100, (206, 0, 100)),
        (b"bytes=99-", 100, (206, 99, 1)),
        (b"bytes=0-", 100, (206, 0, 100)),
        (b"BYTES=1-2", 100, (206, 1, 2)),
        (b"bytes= 1-2 ,", 100, (206, 1, 2)),
        (b"bytes=0000000000000000000000000001-2", 100, (206, 1, 2)),
        (b"bytes=5-" + b"9" * 5000, 100, (206, 5, 95)),
        (b"bytes=-1", 100, (206, 99, 1)),
        (b"bytes=-100", 100, (206, 0, 100)),
        (b"bytes=-9223372036854775809", 100, (206, 0, 100)),
        (b"bytes=100-", 100, (416, 0, 0)),
        (b"bytes=100-200", 100, (416, 0, 0)),
        (b"bytes=" + b"9" * 5000 + b"-", 100, (416, 0, 0)),
        (b"bytes=-0", 100, (416, 0, 0)),
        (b"bytes=0-", 0, (416, 0, 0)),
        (b"bytes=0-0", 0, (416, 0, 0)),
        (b"bytes=-5", 0, (200, 0, 0)),
        (b"bytes=5-4", 100, (200, 0, 100)),
        (b"bytes=-", 100, (200, 0, 100)),
        (b"bytes=", 100, (200, 0, 100)),
        (b"", 100, (200, 0, 100)),
        (b"lines=0-1", 100, (200, 0, 100)),
        (b"bytes 0-1", 100, (200, 0, 100)),
        (b"bytes=+1-2", 100, (200, 0, 100)),
        (b"bytes=1_0-20", 100, (200, 0, 100)),
        (b"bytes=--1", 100, (200, 0, 100)),
        (b"bytes=0x1-2", 100, (200, 0, 100)),
        ("bytes=\u0660-\u0661".encode(), 100, (200, 0, 100)),
        (b"bytes=\xb2-\xb3", 100, (200, 0, 100)),
        (b"bytes=1 -2", 100, (200, 0, 100)),
        (b"bytes=0-0,-1", 100, (200, 0, 100)),
        (b"bytes=" + b"0-," * 1300, 100, (200, 0, 100)),
        (b"bytes=0-1\n", 100, (200, 0, 100)),
    ],
)
def test_one_range_is_honoured_and_anything_else_is_the_whole(
    value: bytes, size: int, outcome: tuple[int, int, int]
) -> None:
    assert find_range(value, size) == outcome


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
