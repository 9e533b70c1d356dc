"""Conditional requests: what a GET or HEAD for something that has validators gets (RFC 9110 §13).

Pure: no clock, no I/O; bytes of fields in, a status and spans out. Never raises for what a client sent: a field that
breaks its grammar is as if it were absent, a comparison that can't be made does not match. It renders no header but the
date; ``ranges`` reads Range.

HOT: a request with one tag, ours or not, is decided without a pattern.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import NamedTuple

from pyserve.http import ranges

FIELD_NAMES = frozenset(
    (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range")
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.encode(): number for number, name in enumerate(_MONTHS, 1)}
_LAST_DATE_S = 253402300799  # 9999-12-31T23:59:59Z: the last one that the format can say
# Patterns as text: ``re`` compiles them for the first request with such a field and keeps them; for all at the start a
# front would take 3 ms.
_CLOCK = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATE = rb"(?:[A-Z][a-z]{2}, (?P<day>[0-9]{2}) (?P<month>[A-Z][a-z]{2}) (?P<year>[0-9]{4}) " + _CLOCK + rb" GMT)"
_DATE_850 = rb"[A-Z][a-z]{5,8}, (?P<day>[0-9]{2})-(?P<month>[A-Z][a-z]{2})-(?P<year>[0-9]{2}) " + _CLOCK + rb" GMT"
_DATE_ASCTIME = rb"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ 0-9][0-9]) " + _CLOCK + rb" (?P<year>[0-9]{4})"
# Entity tags of a list; the opaque part has no quotes and no controls (RFC 9110 §8.8.3). Possessive: a broken list has
# to fail in one pass.
_ETAG = rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")'
_ETAG_LIST = rb'[ \t,]*+(?:(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"[ \t]*+(?:,[ \t,]*+|$))*+'
_EPOCH = datetime.datetime(1970, 1, 1)
_SECOND = datetime.timedelta(seconds=1)


class Conditions(NamedTuple):
    """The raw values of the fields that decide, several lines of one name joined by a comma; None = absent."""

    match: bytes | None = None
    none_match: bytes | None = None
    modified_since: bytes | None = None
    unmodified_since: bytes | None = None
    if_range: bytes | None = None
    range: bytes | None = None


class Outcome(NamedTuple):
    """What to answer, and which bytes of the content go out."""

    status: int
    """200, 206, 304, 412 or 416."""
    first: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which means nothing here
    """Of 200 and of a 206 with one range; 0 and 0 otherwise."""
    parts: tuple[ranges.Part, ...] = ()
    """(first, count) of two or more ranges of a 206 in the order to send, for ``multipart``; () otherwise."""


_FAILED = Outcome(412, 0, 0)
_UNCHANGED = Outcome(304, 0, 0)
_UNSATISFIABLE = Outcome(416, 0, 0)


def read_conditions(fields: Iterable[tuple[bytes, bytes]]) -> Conditions | None:
    """Collect the conditional fields of a request; None if it has none (nearly always)."""
    found: dict[bytes, bytes] | None = None
    for name, value in fields:
        if name in FIELD_NAMES:
            if found is None:
                found = {}
            found[name] = found[name] + b", " + value if name in found else value
    if found is None:
        return None
    return Conditions(
        found.get(b"if-match"),
        found.get(b"if-none-match"),
        found.get(b"if-modified-since"),
        found.get(b"if-unmodified-since"),
        found.get(b"if-range"),
        found.get(b"range"),
    )


def decide(conditions: Conditions, etag: bytes, mtime_s: int, size: int, *, is_get: bool) -> Outcome:
    """Return what a GET (or HEAD) for ``size`` bytes with these validators is answered with, in the order of RFC 9110
    §13.2.2.

    ``etag`` as the field has it, with its quotes, never empty; ``W/"…"`` where equal tags don't promise equal bytes:
    then If-Match (but ``*``) fails, and If-Range, with a tag or a date, gets the whole. ``mtime_s`` whole seconds since
    1970, as ``Last-Modified`` says.
    """
    match, none_match, modified_since, unmodified_since, if_range, wanted = conditions
    if match is not None:
        if not _lists(match, etag, weak=False):
            return _FAILED
    elif unmodified_since is not None:
        since_s = parse_date(unmodified_since)
        if since_s is not None and mtime_s > since_s:
            return _FAILED
    if none_match is not None:
        # What nearly all send is the one tag that we gave.
        if none_match == etag or _lists(none_match, etag, weak=True):
            return _UNCHANGED
    elif modified_since is not None:
        since_s = parse_date(modified_since)
        if since_s is not None and mtime_s <= since_s:
            return _UNCHANGED
    # Range is defined for GET alone (RFC 9110 §14.2).
    if wanted is not None and is_get and (if_range is None or _is_same(if_range, etag, mtime_s)):
        parts = ranges.parse(wanted, size)
        if parts is not None:
            if len(parts) == 1:
                return Outcome(206, *parts[0])
            return Outcome(206, 0, 0, parts) if parts else _UNSATISFIABLE
    return Outcome(200, 0, size)


def format_date(seconds: float) -> bytes:
    """Return an IMF-fixdate (RFC 9110 §5.6.7); what the format can't say becomes the nearest that it can."""
    at = _EPOCH + _SECOND * min(max(int(seconds), 0), _LAST_DATE_S)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year:04d} "
        f"{at.hour:02d}:{at.minute:02d}:{at.second:02d} GMT"
    ).encode()


def parse_date(value: bytes) -> int | None:
    """Return the seconds since 1970 of any of the three HTTP dates, or None for anything else."""
    found = re.fullmatch(_DATE, value) or re.fullmatch(_DATE_850, value) or re.fullmatch(_DATE_ASCTIME, value)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        # LIMIT: a fixed window instead of RFC 9110's "50 years from now", which would need a clock; hurts in 2069.
        year += 2000 if year < 70 else 1900
    try:
        at = datetime.datetime(
            year,
            _MONTH_NUMBERS[found["month"]],
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            min(int(found["second"]), 59) if found["second"] == b"60" else int(found["second"]),
        )
    except (KeyError, ValueError):
        return None
    return (at - _EPOCH) // _SECOND


def _lists(value: bytes, etag: bytes, *, weak: bool) -> bool:
    """Whether a list of entity tags has this one, by the weak or the strong comparison (RFC 9110 §8.8.3.2); ``*`` means
    any. A broken list has none."""
    if value == b"*":
        return True
    opaque = etag.removeprefix(b"W/")
    if opaque not in value or not (weak or etag[:1] == b'"'):
        return False
    if re.fullmatch(_ETAG_LIST, value) is None:
        return False
    return any(tag == opaque and (weak or not prefix) for prefix, tag in re.findall(_ETAG, value))


def _is_same(if_range: bytes, etag: bytes, mtime_s: int) -> bool:
    """Whether ``If-Range`` still names what we have: strong comparison, exact date (RFC 9110 §13.1.5).

    LIMIT: a date is believed where our own tag is strong, though a file may change twice in a second (§8.8.2.2); to
    know that it didn't would take its history. Hurts who resumes by date, without our tag, across such a second.
    """
    if etag[:1] != b'"':
        return False
    return if_range == etag or parse_date(if_range) == mtime_s
