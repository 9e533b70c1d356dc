"""What is sent for a Range is what a plain reader of RFC 9110 §14 finds in it, or the whole; never more than the whole.

The reader is a pattern and a loop, which knows nothing of limits: it may only be overruled with the whole. An input is
a size and the field.
"""

from __future__ import annotations

import itertools
import re

from pyserve.http.multipart import frame_parts
from pyserve.http.ranges import MAX_RANGES, PART_COST_BYTES, Part, parse
from tests.fuzz import fragments as f
from tests.fuzz.chance import Chance, mostly, pick, some_bytes
from tests.fuzz.parts import MARK, join, split

SIZES = (b"10000", b"0", b"1", b"100", b"81", b"250", b"9223372036854775807")
UNITS = (b"bytes=", b"Bytes=")
NASTY_UNITS = (b"", b"bytes", b"bytes =", b" bytes=", b"items=", b"bytes==", b"bytes=bytes=", b"byte\xc5\xbf=")
POSITIONS = (b"0", b"1", b"9", b"10", b"99", b"100", b"500", b"580", b"9999", b"10000", b"", b"", b"007")
SEPARATORS = (b",", b", ", b",\t", b",,", b" , ,")
NASTY_SEPARATORS = (b";", b" ", b"", b",\n", b",\x0b", b"-", b"\xa0,", b"," * 300)
DICTIONARY = (
    *SIZES, *UNITS, *NASTY_UNITS[1:], *POSITIONS[:8], *SEPARATORS, *f.NUMBERS[:16], b"-", b"0-,", b"-1", b"9" * 400,
    MARK,
)  # fmt: skip
_SET = re.compile(rb"(?i:bytes)=[ \t,]*[0-9]*-[0-9]*[ \t]*(?:,[ \t]*(?:[0-9]*-[0-9]*[ \t]*)?)*")
_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")


def make(chance: Chance) -> bytes:
    specs = []
    for _ in range(1 + chance.below(1 + chance.below(60))):
        first = mostly(chance, POSITIONS, f.NUMBERS, 40)
        last = mostly(chance, POSITIONS, f.NUMBERS, 40)
        specs += [first + mostly(chance, (b"-",), (b"--", b"", b"\xe2\x80\x93"), 60) + last]
        specs += [mostly(chance, SEPARATORS, NASTY_SEPARATORS, 60)]
    value = mostly(chance, UNITS, NASTY_UNITS) + b"".join(specs[:-1])
    return join([pick(chance, SIZES), value + (some_bytes(chance, 2) if chance.below(12) == 11 else b"")])


def seeds() -> tuple[bytes, ...]:
    values = (
        b"bytes=0-0,-1",
        b"bytes=" + b"0-," * 60,
        b"bytes=500-599,0-99",
        b"bytes=-9223372036854775809",
        b"bytes=5-4",
    )
    return tuple(join([b"10000", value]) for value in values)


def check(data: bytes) -> None:
    raw_size, value = split(data, 2)
    size = int(raw_size) if re.fullmatch(rb"[0-9]{1,19}", raw_size) else 1000
    parts = parse(value, size)
    if parts is None:
        return
    wanted = read(value, size)
    assert wanted is not None, "a broken field is no range"
    assert len(wanted) <= MAX_RANGES
    wanted = [part for part in wanted if part[1] > 0]
    assert bool(wanted) == bool(parts), "416 is for no range that can be satisfied"
    for first, count in parts:
        assert 0 <= first < first + count <= size, "bytes that there are not"
        assert any(one[0] == first for one in wanted), "a part begins where no range does"
        assert any(sum(one) == first + count for one in wanted), "a part ends where no range does"
    for first, count in wanted:
        inside = [part for part in parts if part[0] <= first and first + count <= sum(part)]
        assert len(inside) == 1, "a range that no part has, or two"
    ordered = sorted(parts)
    for before, after in itertools.pairwise(ordered):
        assert after[0] - sum(before) >= PART_COST_BYTES, "parts that overlap or are near"
    if len(parts) > 1:
        check_cost(parts, size)


def check_cost(parts: tuple[Part, ...], size: int) -> None:
    heads, tail, length = frame_parts(parts, size, b"", b"x")
    content = sum(count for _, count in parts)
    assert content + PART_COST_BYTES * len(parts) <= size, "more than the whole"
    assert length == content + len(b"".join(heads)) + len(tail)


def read(value: bytes, size: int) -> list[Part] | None:
    """Return first byte and count of each range as asked, 0 for what there is not; None for a field to ignore."""
    if _SET.fullmatch(value) is None:
        return None
    found: list[Part] = []
    for first, last in _SPEC.findall(value.partition(b"=")[2]):
        if not first and not last:
            return None
        if first and last and compare(last) < compare(first):
            return None
        if not first:
            count = min(number(last), size)
            found.append((size - count, count))
        else:
            end = min(number(last) + 1, size) if last else size
            found.append((number(first), max(end - number(first), 0)))
    return found


def number(digits: bytes) -> int:
    significant = digits.lstrip(b"0")
    return 10**19 if len(significant) > 19 else int(significant or b"0")


def compare(digits: bytes) -> tuple[int, bytes]:
    significant = digits.lstrip(b"0")
    return len(significant), significant
