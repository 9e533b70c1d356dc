"""Blocks of HPACK that we accept mean to ``hpack`` what they mean to us, with equal tables behind each of them."""

from __future__ import annotations

import hpack

from pyserve.http.h2.faults import ConnectionFault
from pyserve.http.h2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from pyserve.http.h2.hpack import ENTRY_BYTES, FIRST_DYNAMIC, MAX_TABLE_BYTES, Literals, Table, decode
from tests.fuzz import parts
from tests.fuzz.chance import Chance, mostly, pick, repeat, some_bytes

MAX_FIELDS = 100
MAX_BYTES = 20_000
INDEXED = (b"\x82", b"\x84", b"\x87", b"\xbd", b"\xbe", b"\xbf", b"\xff\x00", b"\x90")
NASTY = (
    b"\x80", b"\xff\xff\xff\xff\x7f", b"\xff\xff", b"\xfe", b"\x3f\xe2\x1f", b"\x7f\xff\x7f", b"\x40", b"\x0f",
    b"\x41\x81\xff", b"\x41\x81\x18", b"\x41\x84\xff\xff\xff\xff",
)  # fmt: skip
STARTS = (b"\x40", b"\x00", b"\x10", b"\x41", b"\x44", b"\x01", b"\x0f\x2b", b"\x7f\x00", b"\x7e", b"\x1f\x30")
STRINGS = (b"\x01a", b"\x00", b"\x02/b", b"\x81\x1f", b"\x83\x1c\x64\x9f", b"\x7f\x00" + b"v" * 127, b"\x05x-abc")
SIZES = (b"\x20", b"\x3f\xe1\x1f", b"\x3f\x45", b"\x21", b"\x3e")
LARGE = b"\x40\x01l\x7f\xd9\x0e" + b"l" * 2008
DICTIONARY = (*INDEXED, *NASTY, *STARTS, *STRINGS, *SIZES, LARGE, parts.MARK)


def make(chance: Chance) -> bytes:
    return parts.join([_block(chance) for _ in range(1 + chance.below(5))])


def _block(chance: Chance) -> bytes:
    sizes = repeat(chance, 2, lambda chance: pick(chance, SIZES)) if not chance.below(4) else b""
    return sizes + repeat(chance, 12, _field)


def _field(chance: Chance) -> bytes:
    kind = chance.below(12)
    if kind < 5:
        return mostly(chance, INDEXED, NASTY, 20)
    if kind == 11:
        return mostly(chance, (LARGE,), SIZES, 3)
    start = pick(chance, STARTS)
    name = b"" if start not in (b"\x40", b"\x00", b"\x10") else pick(chance, STRINGS)
    value = mostly(chance, STRINGS, (b"\x7f", b"\xff\xff", b"\x85", b""), 20)
    return start + name + value + (some_bytes(chance, 2) if chance.below(40) == 39 else b"")


def seeds() -> tuple[bytes, ...]:
    return (b"\x82\x84\x87\x41\x01a" + parts.MARK + b"\x82\x84\x87\xbe", LARGE * 3 + parts.MARK + b"\xbe\xbf")


def check(data: bytes) -> None:
    peer = hpack.Decoder(max_header_list_size=1 << 30)
    literals = Literals()
    table = Table()
    for block in data.split(parts.MARK):
        before = table
        try:
            fields, table, is_cut = decode(block, before, literals, MAX_FIELDS, MAX_BYTES)
        except ConnectionFault as fault:
            if fault.code not in (COMPRESSION_ERROR, ENHANCE_YOUR_CALM):
                raise AssertionError(f"refused with {fault.code}") from None
            return
        try:
            theirs = [(bytes(name), bytes(value)) for name, value in peer.decode(block, raw=True)]
        except hpack.HPACKError as error:
            raise AssertionError(f"{error!r}, but we read {fields}") from None
        assert theirs[: len(fields)] == fields, f"{theirs} or {fields}"
        assert is_cut == (len(theirs) > len(fields))
        entries = table.fields[FIRST_DYNAMIC:]
        assert list(entries) == list(peer.header_table.dynamic_entries), "different tables"
        assert table.size == sum(len(name) + len(value) + ENTRY_BYTES for name, value in entries) <= MAX_TABLE_BYTES
        again, _, _ = decode(block, before, literals, MAX_FIELDS, MAX_BYTES)
        assert again == fields, "other fields at second sight of the literals"
        if table is before:
            assert entries == before.fields[FIRST_DYNAMIC:]
