"""Which bytes of the content a Range field asks for (RFC 9110 §14.1, §14.2).

Pure, and linear in the length of the field. A field that is broken, of another unit or dearer than it is worth is as if
it were absent: the answer is the whole content, which every client has to expect. No answer is larger than that.

What is dear (§14.2, §17.15; CVE-2011-3192): more than 50 ranges, more than 2 that overlap another, more than 10 steps
backwards, or parts that come to more bytes than the whole. Ranges that overlap, touch, or have a gap smaller than what
another part costs are sent as one (§15.3.7.2).
"""

from __future__ import annotations

Part = tuple[int, int]
"""First byte and count, of the content."""

MAX_RANGES = 50
MAX_OVERLAPS = 2
"""Ranges that begin before another one, which begins earlier, has ended."""
MAX_DESCENTS = 10
"""Ranges that begin before the one that stands left of them: some readers want the end first, none goes to and fro."""
PART_COST_BYTES = 80
"""What a part costs beside its bytes, about: RFC 9110 §15.3.7.2 has the figure."""
_MAX_MEMBERS = 4 * MAX_RANGES
"""Of the list, the empty ones too: a recipient has to bear "a reasonable number" of those (§5.6.1)."""
_MOST_DIGITS = 19
_NONE: Part = (0, 0)
"""A range that can't be satisfied."""


def parse(value: bytes, size: int) -> tuple[Part, ...] | None:
    """Return the parts to send of ``size`` bytes: () if no range can be satisfied (416), None for the whole (200).

    Several parts don't overlap, are ``PART_COST_BYTES`` apart at least, and stand in the order in which they were asked
    for; a merged one where its first range stood. Several ranges that come to all of the content are the whole.
    """
    # Of nothing no range can be satisfied; but some clients always ask for all by "bytes=0-", and all of nothing is it.
    if not size or (value[:6] != b"bytes=" and value[:6].lower() != b"bytes="):
        return None
    if b"," not in value:
        part = _read(value[6:].strip(b" \t"), size)
        if part is None:
            return None
        return (part,) if part[1] else ()
    return _parse_several(value, size)


def _parse_several(value: bytes, size: int) -> tuple[Part, ...] | None:
    asked: list[Part] = []
    number = 0
    # What is left behind the last cut has a comma, so it is no range.
    for member in value[6:].split(b",", _MAX_MEMBERS):
        spec = member.strip(b" \t")
        if not spec:
            continue
        number += 1
        part = _read(spec, size)
        if part is None or number > MAX_RANGES:
            return None
        if part[1]:
            asked.append(part)
    if not number:
        return None
    if number == 1 or not asked:
        return tuple(asked)
    return _coalesce(asked, size)


def _coalesce(asked: list[Part], size: int) -> tuple[Part, ...] | None:
    """Merge what overlaps or is near; None if this is dearer than the whole."""
    ends: list[list[int]] = []  # position in what was asked, first, end
    overlaps = 0
    for first, count, at in sorted([(first, count, at) for at, (first, count) in enumerate(asked)]):
        last = ends[-1] if ends else None
        if last is None or first - last[2] >= PART_COST_BYTES:
            ends.append([at, first, first + count])
            continue
        overlaps += first < last[2]
        last[0] = min(last[0], at)
        last[2] = max(last[2], first + count)
    descents = sum([asked[at][0] < asked[at - 1][0] for at in range(1, len(asked))])
    if overlaps > MAX_OVERLAPS or descents > MAX_DESCENTS:
        return None
    ends.sort()
    parts = tuple([(first, end - first) for _, first, end in ends])
    if len(parts) == 1:
        return parts if parts[0][1] < size else None
    sent = sum([count for _, count in parts]) + PART_COST_BYTES * len(parts)
    return parts if sent <= size else None


def _read(spec: bytes, size: int) -> Part | None:
    """Return the part that one range names, ``_NONE`` if there is no such byte; None if it is no range, or all of it.

    ``bytes.isdigit`` knows ASCII alone; other alphabets' digits, signs and underscores are no numbers here.
    """
    first_digits, dash, last_digits = spec.partition(b"-")
    if not dash:
        return None
    if first_digits:
        if not first_digits.isdigit():
            return None
        first = _number(first_digits)
        if not last_digits:
            return (first, size - first) if first < size else _NONE
        if not last_digits.isdigit():
            return None
        last = _number(last_digits)
        if last < first:
            return None  # invalid (RFC 9110 §14.1.1)
        if first >= size:
            return _NONE
        return (first, (last if last < size else size - 1) - first + 1)
    if not last_digits.isdigit():
        return None
    count = min(_number(last_digits), size)
    if count:
        return (size - count, count)
    # The last bytes of nothing are all of it (§14.1.2), but no Content-Range can say so.
    return None if _number(last_digits) else _NONE


def _number(digits: bytes) -> int:
    if len(digits) <= _MOST_DIGITS:
        return int(digits)
    significant = digits.lstrip(b"0")
    # More digits than any file has bytes: no need to make a huge number of them.
    return 10**_MOST_DIGITS if len(significant) > _MOST_DIGITS else int(significant or b"0")
