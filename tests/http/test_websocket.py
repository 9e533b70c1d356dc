"""Frames of WebSockets: whatever way they are cut, they mean the same, and what breaks the rules is found in time."""

from __future__ import annotations

import os
import random
import struct
import zlib
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import SERVER, Protocol

from pyserve.http.masking import _mask_by_integers, apply_mask
from pyserve.http.websocket import (
    BINARY,
    CLOSE,
    INVALID_DATA,
    MAX_IDLE_FRAMES,
    NO_CODE,
    PIECE,
    PIECE_BYTES,
    PING,
    POLICY,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Failure,
    FrameReader,
    close_frame,
    frame,
    is_close_code,
    read_close,
)
from pyserve.http.websocket_deflate import Agreement, Deflater, Inflater, agree

MAX = 1 << 20
GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()
MASK = b"\x37\xfa\x21\x3d"


def sent(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """Return a frame as a client sends it; with ``mask`` None as it must not."""
    bit = 0 if mask is None else 0x80
    length = len(payload)
    if length < 126:
        head = bytes((bit | length,))
    elif length < 65536:
        head = bytes((bit | 126,)) + struct.pack(">H", length)
    else:
        head = bytes((bit | 127,)) + struct.pack(">Q", length)
    first = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    return first + head + (payload if mask is None else mask + apply_mask(payload, mask))


def closing(code: int, reason: bytes = b"") -> bytes:
    return sent(CLOSE, struct.pack(">H", code) + reason)


class Told(NamedTuple):
    """What a reader made of some bytes: messages whole, however many pieces they came in."""

    events: list[tuple[int, bytes]]
    failure: int
    """A close code, 0 = none."""


def read(*pieces: bytes, most: int = MAX, inflater: Inflater | None = None) -> Told:
    reader = FrameReader(most, inflater)
    events: list[tuple[int, bytes]] = []
    kept = b""
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while (event := reader.next_event()) is not None:
                opcode, payload = event
                if opcode == PIECE:
                    assert len(payload) == PIECE_BYTES
                    kept += payload
                elif opcode in (TEXT, BINARY):
                    assert len(payload) <= PIECE_BYTES
                    events.append((opcode, kept + payload))
                    kept = b""
                else:
                    events.append(event)
    except Failure as failure:
        reader.receive_data(sent(TEXT, b"more"))
        assert reader.next_event() is None, "nothing is read behind a failure"
        return Told(events, failure.code)
    return Told(events, 0)


def cuts(data: bytes) -> list[list[bytes]]:
    """The same bytes in one, byte by byte, and in two at places all over them."""
    some = range(len(data)) if len(data) < 200 else random.Random(1).sample(range(len(data)), 50)
    return [[data], [data[at : at + 1] for at in range(len(data))], *([data[:at], data[at:]] for at in some)]


OK = 0
BAD_TEXT = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"

# In the order of the groups that everybody's conformance suite has: framing, pings, reserved bits, opcodes, fragments,
# text, closing.
CASES: dict[str, tuple[bytes, list[tuple[int, bytes]], int]] = {
    **{
        f"1 {kind} of {size}": (sent(kind, b"*" * size), [(kind, b"*" * size)], OK)
        for kind in (TEXT, BINARY)
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 70000)
    },
    "2.1 an empty ping": (sent(PING), [(PING, b"")], OK),
    "2.3 a ping with bytes of all kinds": (sent(PING, b"\x00\xff\xfe\xfd"), [(PING, b"\x00\xff\xfe\xfd")], OK),
    "2.4 a ping of 125": (sent(PING, b"\xfe" * 125), [(PING, b"\xfe" * 125)], OK),
    "2.5 a ping of 126": (sent(PING, b"\xfe" * 126), [], PROTOCOL_ERROR),
    "2.7 a pong that nobody asked for": (sent(PONG), [(PONG, b"")], OK),
    "2.9 a pong, then a ping": (sent(PONG, b"a") + sent(PING, b"b"), [(PONG, b"a"), (PING, b"b")], OK),
    "2.10 ten pings": (sent(PING, b"p") * 10, [(PING, b"p")] * 10, OK),
    **{f"3.{rsv} reserved bits": (sent(TEXT, b"x", rsv=rsv), [], PROTOCOL_ERROR) for rsv in range(1, 8)},
    "3.3 reserved bits behind a message": (sent(TEXT, b"a") + sent(TEXT, b"b", rsv=3), [(TEXT, b"a")], PROTOCOL_ERROR),
    "3.6 reserved bits of a ping": (sent(PING, rsv=6), [], PROTOCOL_ERROR),
    "3.7 reserved bits of a close": (sent(CLOSE, rsv=7), [], PROTOCOL_ERROR),
    **{f"4 opcode {code}": (sent(code, b"x"), [], PROTOCOL_ERROR) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "5.1 a ping in fragments": (sent(PING, b"a", fin=False) + sent(PIECE, b"b"), [], PROTOCOL_ERROR),
    "5.2 a pong in fragments": (sent(PONG, b"a", fin=False) + sent(PIECE, b"b"), [], PROTOCOL_ERROR),
    "5.3 a text in fragments": (sent(TEXT, b"a", fin=False) + sent(PIECE, b"b"), [(TEXT, b"ab")], OK),
    "5.6 with a ping between": (
        sent(TEXT, b"a", fin=False) + sent(PING, b"p") + sent(PIECE, b"b"),
        [(PING, b"p"), (TEXT, b"ab")],
        OK,
    ),
    "5.9 a continuation of nothing": (sent(PIECE, b"b") + sent(TEXT, b"x"), [], PROTOCOL_ERROR),
    "5.12 one that goes on": (sent(PIECE, b"b", fin=False) + sent(TEXT, b"x"), [], PROTOCOL_ERROR),
    "5.15 one behind a message": (
        sent(TEXT, b"a", fin=False) + sent(PIECE, b"b") + sent(PIECE, b"c", fin=False) + sent(TEXT, b"d"),
        [(TEXT, b"ab")],
        PROTOCOL_ERROR,
    ),
    "5.18 a message inside of another": (sent(TEXT, b"a", fin=False) + sent(TEXT, b"b"), [], PROTOCOL_ERROR),
    "5.20 five fragments and pings": (
        sent(TEXT, b"1", fin=False)
        + sent(PIECE, b"2", fin=False)
        + sent(PING, b"x")
        + sent(PIECE, b"3", fin=False)
        + sent(PIECE, b"4", fin=False)
        + sent(PING, b"y")
        + sent(PIECE, b"5"),
        [(PING, b"x"), (PING, b"y"), (TEXT, b"12345")],
        OK,
    ),
    "6.1 empty fragments": (sent(TEXT, fin=False) + sent(PIECE, fin=False) + sent(PIECE), [(TEXT, b"")], OK),
    "6.2 text": (sent(TEXT, GREETING), [(TEXT, GREETING)], OK),
    "6.2 text cut inside of a character": (
        sent(TEXT, GREETING[:7], fin=False) + sent(PIECE, GREETING[7:]),
        [(TEXT, GREETING)],
        OK,
    ),
    "6.3 a surrogate": (sent(TEXT, BAD_TEXT), [], INVALID_DATA),
    "6.4 beyond the last character, in fragments": (
        sent(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", fin=False)
        + sent(PIECE, b"\xf4\x90\x80\x80", fin=False)
        + sent(PIECE, b"edited"),
        [],
        INVALID_DATA,
    ),
    "6.6 half a character at the end": (sent(TEXT, b"\xce\xba\xe1\xbd"), [], INVALID_DATA),
    "6.6 half a character at the end of fragments": (
        sent(TEXT, b"\xce\xba", fin=False) + sent(PIECE, b"\xe1\xbd"),
        [],
        INVALID_DATA,
    ),
    **{
        f"6 bytes that are no text: {bad.hex()}": (sent(TEXT, bad), [], INVALID_DATA)
        for bad in (
            *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\x80", b"\xbf"),
            *(b"\xfe", b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc1\xbf", b"\xed\xbf\xbf"),
            *(b"\xed\xa0\x80\xed\xb0\x80", b"\xc2", b"a\xc2 ", b"\xf0\x9f\x98"),
        )
    },
    **{
        f"6 bytes that are text: {good.hex()}": (sent(TEXT, good), [(TEXT, good)], OK)
        for good in (b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf")
    },
    "6 the same is right in bytes": (sent(BINARY, BAD_TEXT), [(BINARY, BAD_TEXT)], OK),
    "7.1 a close, then a message": (sent(CLOSE) + sent(TEXT, b"x"), [(CLOSE, b"")], OK),
    "7.1 a close, then a ping": (closing(1000) + sent(PING), [(CLOSE, b"\x03\xe8")], OK),
    "7.1 a close in the middle of a message": (
        sent(TEXT, b"a", fin=False) + closing(1000) + sent(PIECE, b"b"),
        [(CLOSE, b"\x03\xe8")],
        OK,
    ),
    "7.3 a close of one byte": (sent(CLOSE, b"\x03"), [], PROTOCOL_ERROR),
    "7.3 a close with the longest reason": (
        closing(1000, b"*" * 123),
        [(CLOSE, b"\x03\xe8" + b"*" * 123)],
        OK,
    ),
    "7.3 a close that is too long": (closing(1000, b"*" * 124), [], PROTOCOL_ERROR),
    "7.5 a close whose reason is no text": (closing(1000, BAD_TEXT), [], INVALID_DATA),
    **{
        f"7.7 code {code}": (closing(code), [(CLOSE, struct.pack(">H", code))], OK)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9 code {code}": (closing(code), [], PROTOCOL_ERROR)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a frame without a mask": (sent(TEXT, b"x", mask=None), [], PROTOCOL_ERROR),
    "a ping without a mask": (sent(PING, mask=None), [], PROTOCOL_ERROR),
    "a mask of zeros": (sent(TEXT, b"plain", mask=b"\0\0\0\0"), [(TEXT, b"plain")], OK),
    "a length in three bytes that fits into one": (b"\x82\xfe\x00\x7d" + MASK, [], PROTOCOL_ERROR),
    "a length in nine bytes that fits into three": (b"\x82\xff" + struct.pack(">Q", 65535) + MASK, [], PROTOCOL_ERROR),
    "a length of 2**63": (b"\x82\xff" + struct.pack(">Q", 1 << 63) + MASK, [], PROTOCOL_ERROR),
    "a length of all ones": (b"\x82\xff" + b"\xff" * 8 + MASK, [], PROTOCOL_ERROR),
    "a message of a tebibyte": (b"\x82\xff" + struct.pack(">Q", 1 << 40) + MASK, [], TOO_BIG),
    "a message that fragments make too big": (
        sent(BINARY, b"x" * 700_000, fin=False) + sent(PIECE, b"x" * 700_000),
        [],
        TOO_BIG,
    ),
    "two messages that are not too big": (sent(BINARY, b"x" * 700_000) * 2, [(BINARY, b"x" * 700_000)] * 2, OK),
}


@pytest.mark.parametrize("name", CASES)
def test_frames_mean_the_same_whatever_way_they_are_cut(name: str) -> None:
    data, events, failure = CASES[name]
    for pieces in cuts(data)[: 2 if len(data) > 10_000 else None]:
        if len(pieces) > 100_000:
            pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        assert read(*pieces) == Told(events, failure)


@pytest.mark.parametrize("bad", [b"\xf4\x90", b"\xc0", b"\xff", b"\xed\xa0\x80"])
def test_wrong_text_is_found_before_its_frame_is_whole(bad: bytes) -> None:
    whole = sent(TEXT, b"\xce\xba\xe1\xbd\xb9" + bad + b"and so on")
    head = len(whole) - len(b"and so on")
    assert read(whole[: head - 1]) == Told([], OK)
    assert read(whole[:head]) == Told([], INVALID_DATA)


def test_a_message_that_says_that_it_is_too_big_is_refused_before_it_comes() -> None:
    head = sent(BINARY, b"x" * 101)[:2]
    assert read(head, most=100) == Told([], TOO_BIG)
    assert read(sent(BINARY, b"x" * 100), most=100) == Told([(BINARY, b"x" * 100)], OK)


def test_a_long_message_is_given_out_in_pieces_before_it_is_whole() -> None:
    reader = FrameReader(MAX)
    data = os.urandom(3 * PIECE_BYTES)
    reader.receive_data(sent(BINARY, data)[:-10])
    first, second = reader.next_event(), reader.next_event()
    assert (first, second) == ((PIECE, data[:PIECE_BYTES]), (PIECE, data[PIECE_BYTES : 2 * PIECE_BYTES]))
    assert reader.next_event() is None


def test_a_storm_of_frames_that_bring_nothing_is_ended() -> None:
    for storm in (sent(PING), sent(PONG, b"x")):
        assert read(storm * (MAX_IDLE_FRAMES + 1)).failure == POLICY
    assert read(sent(TEXT, b"", fin=False) + sent(PIECE, fin=False) * MAX_IDLE_FRAMES).failure == POLICY
    reader = FrameReader(MAX)
    for _ in range(3):
        reader.receive_data(sent(PING) * MAX_IDLE_FRAMES)
        while reader.next_event() is not None:
            pass
        reader.forgive()


def test_a_reader_at_rest_keeps_nothing() -> None:
    reader = FrameReader(MAX)
    for data in (sent(TEXT, b"short"), sent(BINARY, b"x" * 200_000), sent(PING)):
        reader.receive_data(data)
        while reader.next_event() is not None:
            pass
        assert (reader.buffered, reader._buffer, reader._kept) == (0, b"", None)


# -- against a library that everybody trusts


CLOSED_WITHIN = -1
"""A close in the middle of a message: an error to ``websockets``, allowed by RFC 6455 §5.4 (control frames)."""


def judged(data: bytes, *, compressed: bool = False) -> Told:
    """What ``websockets`` makes of the same bytes."""
    protocol = Protocol(SERVER, max_size=MAX)
    if compressed:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 12)]
    events: list[tuple[int, bytes]] = []
    kept: list[bytes] = []
    opcode = 0
    protocol.receive_data(data)
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.CONT or event.opcode in (Opcode.TEXT, Opcode.BINARY):
            opcode = event.opcode if event.opcode is not Opcode.CONT else opcode
            kept.append(bytes(event.data))
            if event.fin:
                events.append((opcode, b"".join(kept)))
                kept = []
        else:
            events.append((event.opcode, bytes(event.data)))
    failure = 0
    error = protocol.parser_exc
    if isinstance(error, PayloadTooBig):
        failure = TOO_BIG
    elif isinstance(error, UnicodeDecodeError):
        failure = INVALID_DATA
    elif isinstance(error, ProtocolError):
        failure = CLOSED_WITHIN if "incomplete fragmented message" in str(error) else PROTOCOL_ERROR
    return Told(events, failure)


FRAMES = st.builds(
    sent,
    st.sampled_from([TEXT, BINARY, BINARY, PIECE, PIECE, PING, PONG, CLOSE, 3, 11]),
    st.one_of(
        st.just(b""),
        st.binary(max_size=130),
        st.text(max_size=40).map(str.encode),
        st.sampled_from([b"\x03\xe8", b"\x03\xec", b"x" * 126, b"x" * 66_000]),
    ),
    fin=st.booleans(),
    rsv=st.sampled_from([0] * 12 + [1, 2, 4]),
    mask=st.sampled_from([MASK] * 12 + [None, b"\0\0\0\0"]),
)


def without_what_it_leaves_to_its_user(told: Told) -> Told:
    """``websockets`` leaves UTF-8 of messages to who takes them."""
    events = []
    for opcode, payload in told.events:
        if opcode == TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                return Told(events, INVALID_DATA)
        events.append((opcode, payload))
    return Told(events, told.failure)


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES, max_size=6), st.integers(1, 400))
def test_any_frames_are_read_as_websockets_reads_them(sequence: list[bytes], size: int) -> None:
    data = b"".join(sequence)
    ours = read(data)
    assert ours == read(*[data[at : at + size] for at in range(0, len(data), size)])
    theirs = without_what_it_leaves_to_its_user(judged(data))
    if theirs.failure == CLOSED_WITHIN:
        theirs = theirs._replace(failure=0, events=[*theirs.events, *ours.events[-1:]])
    if ours.failure == INVALID_DATA and theirs.failure != INVALID_DATA:
        # We find wrong text before the end of its message, which here never came or broke another rule.
        assert ours.events == theirs.events[: len(ours.events)]
    else:
        assert ours == theirs


@given(st.sampled_from([TEXT, BINARY, PIECE, PING]), st.binary(max_size=125), st.booleans())
def test_frames_that_we_send_are_read_as_they_were_meant(opcode: int, payload: bytes, is_final: bool) -> None:
    is_final = is_final or opcode == PING
    theirs = Frame(Opcode(opcode), payload, fin=is_final)
    assert frame(opcode, payload, is_final) == theirs.serialize(mask=False)


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 70000])
def test_long_frames_that_we_send_are_those_of_websockets(size: int) -> None:
    payload = b"x" * size
    for fin in (True, False):
        assert frame(BINARY, payload, fin) == Frame(Opcode.BINARY, payload, fin=fin).serialize(mask=False)
        compressed = frame(BINARY, payload, fin, True)
        assert bytes((compressed[0] - 0x40,)) + compressed[1:] == frame(BINARY, payload, fin)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1012, "bye"), (4001, "é" * 61), (NO_CODE, "")])
def test_a_close_that_we_send_is_read_as_it_was_meant(code: int, reason: str) -> None:
    payload = close_frame(code, reason)[2:]
    assert read_close(payload) == (code, reason)
    assert Close.parse(payload) == Close(code, reason)


def test_a_reason_that_is_too_long_is_cut_between_characters() -> None:
    assert read_close(close_frame(1011, "é" * 80)[2:]) == (1011, "é" * 61)


def test_codes_that_an_application_may_send() -> None:
    assert [code for code in range(990, 1020) if is_close_code(code)] == [*range(1000, 1004), *range(1007, 1015)]
    assert (is_close_code(2999), is_close_code(3000), is_close_code(4999), is_close_code(5000)) == (
        *(False, True, True, False),
    )


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_either_way_of_masking_is_the_same(data: bytes, mask: bytes) -> None:
    assert apply_mask(data, mask) == _mask_by_integers(data, mask)
    assert apply_mask(apply_mask(data, mask), mask) == data


def test_the_mask_is_the_work_of_c() -> None:
    assert apply_mask is not _mask_by_integers


# -- permessage-deflate


def deflated(payload: bytes, bits: int = 15) -> bytes:
    state = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return (state.compress(payload) + state.flush(zlib.Z_SYNC_FLUSH))[:-4]


def in_fragments(opcode: int, payload: bytes, size: int) -> bytes:
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    out = b""
    for number, piece in enumerate(pieces):
        first = number == 0
        out += sent(opcode if first else PIECE, piece, fin=number == len(pieces) - 1, rsv=4 if first else 0)
    return out


@pytest.mark.parametrize("payload", [b"", b"a", GREETING, b"*" * 65536, os.urandom(5000), GREETING * 10000])
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_a_compressed_message_is_inflated_whatever_its_fragments(payload: bytes, size: int) -> None:
    data = in_fragments(BINARY, deflated(payload), size)
    if len(data) < 40_000:
        assert read(data, inflater=Inflater(False)) == Told([(BINARY, payload)], OK)
    pieces = [data[at : at + 1013] for at in range(0, len(data), 1013)]
    assert read(*pieces, inflater=Inflater(False)) == Told([(BINARY, payload)], OK)


def test_a_ping_between_compressed_fragments_is_none_of_them() -> None:
    whole = deflated(GREETING)
    data = sent(TEXT, whole[:5], fin=False, rsv=4) + sent(PING, b"p") + sent(PIECE, whole[5:])
    assert read(data, inflater=Inflater(False)) == Told([(PING, b"p"), (TEXT, GREETING)], OK)


def test_messages_that_are_not_compressed_are_still_right() -> None:
    data = sent(TEXT, b"plain") + sent(TEXT, deflated(b"packed"), rsv=4) + sent(TEXT, b"plain")
    assert read(data, inflater=Inflater(False)).events == [(TEXT, b"plain"), (TEXT, b"packed"), (TEXT, b"plain")]


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
def test_other_reserved_bits_stay_reserved(rsv: int) -> None:
    assert read(sent(TEXT, b"x", rsv=rsv), inflater=Inflater(False)).failure == PROTOCOL_ERROR


def test_the_bit_of_compression_is_for_the_first_fragment_of_a_message_only() -> None:
    start = sent(TEXT, deflated(b"abc")[:2], fin=False, rsv=4)
    for wrong in (start + sent(PIECE, b"x", rsv=4), sent(PING, b"", rsv=4), sent(CLOSE, b"", rsv=4)):
        assert read(wrong, inflater=Inflater(False)).failure == PROTOCOL_ERROR
    assert read(sent(TEXT, b"x", rsv=4)).failure == PROTOCOL_ERROR, "where it was not agreed on"


@pytest.mark.parametrize("size", [MAX, MAX + 1, 200 * MAX])
def test_a_bomb_goes_off_at_the_limit(size: int) -> None:
    """A thousandth of it comes over the wire; no more of it is inflated than may be taken."""
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join([state.compress(bytes(MAX)) for _ in range(size // MAX)]) + state.compress(bytes(size % MAX))
    packed += state.flush(zlib.Z_SYNC_FLUSH)[:-4]
    told = read(sent(BINARY, packed, rsv=4), inflater=Inflater(False))
    assert told.failure == (0 if size <= MAX else TOO_BIG)


def test_compressed_text_is_looked_at_as_any_text() -> None:
    assert read(sent(TEXT, deflated(BAD_TEXT), rsv=4), inflater=Inflater(False)).failure == INVALID_DATA


def test_what_can_t_be_inflated_is_invalid() -> None:
    for wrong in (b"\xff\xff\xff\xff", b"\x07", deflated(b"abc") + b"\xff\x00\x12\x34"):
        assert read(sent(BINARY, wrong, rsv=4), inflater=Inflater(False)).failure == INVALID_DATA


def test_a_message_may_have_the_end_of_a_stream_in_it() -> None:
    """RFC 7692 §7.2.3.4 and §7.2.3.5."""
    ended = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = ended.compress(b"Hello") + ended.flush() + b"\x00"
    assert read(sent(TEXT, first, rsv=4), inflater=Inflater(False)) == Told([(TEXT, b"Hello")], OK)
    two_blocks = bytes.fromhex("f248050000 00ffff cac9c90700")
    both = sent(TEXT, first, rsv=4) + sent(TEXT, two_blocks, rsv=4)
    assert read(both, inflater=Inflater(True)) == Told([(TEXT, b"Hello"), (TEXT, b"Hello")], OK)


@pytest.mark.parametrize("keeps", [False, True])
def test_context_is_kept_between_messages_where_that_is_agreed(keeps: bool) -> None:
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    messages = [b"the same words again", b"the same words again", b"and others"]
    packed = [(state.compress(one) + state.flush(zlib.Z_SYNC_FLUSH))[:-4] for one in messages]
    told = read(*[sent(TEXT, one, rsv=4) for one in packed], inflater=Inflater(keeps))
    if keeps:
        assert told == Told([(TEXT, one) for one in messages], OK)
    else:
        assert told.failure == INVALID_DATA, "a distance that leads before the message"


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("bits", [9, 12])
def test_what_we_deflate_websockets_inflates(keeps: bool, bits: int) -> None:
    deflater = Deflater(Agreement(bits, keeps, False))
    extension = PerMessageDeflate(not keeps, False, 15, bits)
    for payload in (GREETING * 100, b"", os.urandom(3000), GREETING * 100):
        out = deflater.deflate(payload, True)
        got = extension.decode(Frame(Opcode.BINARY, out, fin=True, rsv1=True))
        assert bytes(got.data) == payload
    pieces = [b"one " * 100, b"two " * 100, b"three"]
    out = b"".join(deflater.deflate(piece, number == 2) for number, piece in enumerate(pieces))
    assert bytes(extension.decode(Frame(Opcode.BINARY, out, fin=True, rsv1=True)).data) == b"".join(pieces)


OURS = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
PLAIN = (b"permessage-deflate", ())


def offer(*parameters: str) -> tuple[bytes, tuple[tuple[bytes, bytes | None], ...]]:
    split = [word.encode().partition(b"=") for word in parameters]
    return b"permessage-deflate", tuple((name, value if sign else None) for name, sign, value in split)


@pytest.mark.parametrize(
    ("offers", "line"),
    [
        ((PLAIN,), OURS),
        ((offer("client_max_window_bits"),), OURS),
        ((offer("client_max_window_bits=10", "server_no_context_takeover"),), OURS),
        ((offer("server_max_window_bits=10"),), OURS + b"; server_max_window_bits=10"),
        ((offer("server_max_window_bits=15"),), OURS + b"; server_max_window_bits=12"),
        ((offer("server_max_window_bits=8"),), None),
        ((offer("server_max_window_bits=8"), PLAIN), OURS),
        ((offer("server_max_window_bits"),), None),
        ((offer("server_max_window_bits=16"),), None),
        ((offer("server_max_window_bits=09"),), None),
        ((offer("client_max_window_bits=7"),), None),
        ((offer("client_no_context_takeover=1"),), None),
        ((offer("client_no_context_takeover", "client_no_context_takeover"),), None),
        ((offer("unknown"), PLAIN), OURS),
        (((b"x-webkit-deflate-frame", ()),), None),
        ((), None),
    ],
)
def test_the_first_offer_that_can_be_kept_is_taken(offers: tuple[object, ...], line: bytes | None) -> None:
    agreed = agree(offers, False)  # type: ignore[arg-type]
    assert (agreed and agreed[1]) == line


def test_context_takeover_is_agreed_on_where_it_is_wanted_by_both() -> None:
    assert agree((PLAIN,), True) == (Agreement(12, True, True), b"permessage-deflate")
    agreement, line = agree((offer("server_no_context_takeover"),), True) or (None, b"")
    assert (agreement, line) == (Agreement(12, False, True), b"permessage-deflate; server_no_context_takeover")
