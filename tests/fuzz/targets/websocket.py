"""Frames of a WebSocket mean the same however they are cut, and what is given out is bounded, whole and valid."""

from __future__ import annotations

import zlib

from pyserve.http.masking import apply_mask
from pyserve.http.websocket import (
    BINARY,
    CLOSE,
    MAX_CONTROL_BYTES,
    PIECE,
    PIECE_BYTES,
    PING,
    PONG,
    TEXT,
    Failure,
    FrameReader,
    is_close_code,
    read_close,
)
from pyserve.http.websocket_deflate import Inflater
from tests.fuzz.chance import Chance, mostly, pick, repeat, some_bytes
from tests.fuzz.reading import cuts

MAX = 300
PACKER = zlib.compressobj(9, zlib.DEFLATED, -15)
PACKED = (PACKER.compress(b"abc" * 30) + PACKER.flush(zlib.Z_SYNC_FLUSH))[:-4]
TEXTS = (b"", b"abc", "é".encode(), b"\xf0\x9f\x98\x80", b"x" * 125, b"y" * 126)
NASTY = (b"\xc3", b"\xff", b"\xf4\x90", b"\xed\xa0\x80", b"\x03\xe8", b"\x03\xed", b"\x0b", PACKED, b"\x00\x00\xff\xff")
DICTIONARY = (
    b"\x81\x80", b"\x01\x80", b"\x80\x80", b"\x00\x80", b"\x82\xfe", b"\xc1\x80", b"\xc2\xff", b"\x88\x82", b"\x89\x80",
    b"\x8a\xfd", b"\x00\x7e", b"\xff" * 8, b"\x00" * 8, b"\x03\xe8", *NASTY,
)  # fmt: skip


def make(chance: Chance) -> bytes:
    return repeat(chance, 6, make_frame)


def make_frame(chance: Chance) -> bytes:
    opcode = mostly(chance, (TEXT, BINARY, PIECE, PIECE, PING, PONG, CLOSE), (3, 7, 11, 15))
    payload = mostly(chance, TEXTS, NASTY, 3) if chance.below(4) else some_bytes(chance, 12)
    reserved = mostly(chance, (0,), (0x40, 0x40, 0x20, 0x10), 4)
    mask = pick(chance, (b"\0\0\0\0", b"abcd"))
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    first = opcode | reserved | (0x80 if chance.below(3) else 0)
    return bytes((first,)) + length + mask + apply_mask(payload, mask)


def seeds() -> tuple[bytes, ...]:
    packed = bytes((0xC1, 0x80 | len(PACKED))) + b"\0\0\0\0" + PACKED
    return (
        b"\x81\x85\0\0\0\0hello",
        b"\x01\x81\0\0\0\0\xc3\x89\x80\0\0\0\0\x80\x81\0\0\0\0\xa9",
        packed + b"\x88\x82\0\0\0\0\x03\xe8",
        b"\x82\xfe\x00\x7eabcd" + b"x" * 126,
    )


def check(data: bytes) -> None:
    for inflater in (None, Inflater(False), Inflater(True)):
        first: tuple[list[tuple[int, bytes]], int] | None = None
        for name, pieces in cuts(data):
            found = read(pieces, inflater and Inflater(inflater._keeps))
            if first is None:
                first = found
                check_events(found[0])
            else:
                assert found == first, f"whole or {name}: {first} or {found}"


def read(pieces: list[bytes], inflater: Inflater | None) -> tuple[list[tuple[int, bytes]], int]:
    reader = FrameReader(MAX, inflater)
    events = []
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while (event := reader.next_event()) is not None:
                events.append(event)
            assert reader.buffered < 14 + MAX_CONTROL_BYTES, "more is kept than one control frame"
    except Failure as failure:
        reader.receive_data(b"\x81\x80\0\0\0\0")
        assert reader.next_event() is None
        return events, failure.code
    return events, 0


def check_events(events: list[tuple[int, bytes]]) -> None:
    for number, (opcode, payload) in enumerate(events):
        assert len(payload) <= PIECE_BYTES
        if opcode in (TEXT, BINARY):
            assert len(payload) <= MAX
        if opcode == TEXT:
            payload.decode()
        elif opcode == CLOSE:
            code, _ = read_close(payload)
            assert code == 1005 or is_close_code(code)
            assert number == len(events) - 1, "something behind a close"
        elif opcode in (PING, PONG):
            assert len(payload) <= MAX_CONTROL_BYTES
