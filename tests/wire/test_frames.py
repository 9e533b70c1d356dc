"""Frames: cut anywhere, they come out the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserve.wire import frames
from pyserve.wire.frames import (
    HEADER_BYTES,
    MAX_HEAD_PAYLOAD,
    MAX_PAYLOAD,
    WINDOW,
    Splitter,
    WireError,
    frame,
    is_after,
)

SEQUENCE = [
    (frames.REQUEST, 1, b"head"),
    (frames.BODY, 1, b""),
    (frames.BODY_LAST, 0xFFFFFFFF, b"x" * 300),
    (frames.CREDIT, 7, b"\x01\0\0\0"),
]
STREAM = b"".join(frame(*one) for one in SEQUENCE)


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_frames_cut_in_two_anywhere_come_out_whole(cut: int) -> None:
    splitter = Splitter()
    assert splitter.feed(STREAM[:cut]) + splitter.feed(STREAM[cut:]) == SEQUENCE


def test_frames_come_out_byte_by_byte() -> None:
    splitter = Splitter()
    assert [f for at in range(len(STREAM)) for f in splitter.feed(STREAM[at : at + 1])] == SEQUENCE


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=8),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_any_frames_cut_anywhere_come_out_whole(sequence: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(*one) for one in sequence)
    splitter = Splitter()
    out = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        out += splitter.feed(data[start:end])
    assert out == sequence


@pytest.mark.parametrize(
    ("kind", "length", "is_allowed"),
    [
        (frames.DATA, MAX_PAYLOAD, True),
        (frames.DATA, MAX_PAYLOAD + 1, False),
        (frames.ANSWER, MAX_HEAD_PAYLOAD + MAX_PAYLOAD, True),
        (frames.ANSWER, MAX_HEAD_PAYLOAD + MAX_PAYLOAD + 1, False),
        (frames.REQUEST, MAX_HEAD_PAYLOAD, True),
        (frames.DATA, 2**32 - 1, False),
    ],
)
def test_impossible_lengths_are_refused_before_the_payload_is_there(kind: int, length: int, is_allowed: bool) -> None:
    header = frames.HEADER.pack(length, kind, 1)
    assert len(header) == HEADER_BYTES
    if is_allowed:
        assert Splitter().feed(header) == []
    else:
        with pytest.raises(WireError):
            Splitter().feed(header)


def test_numbers_are_u32_and_nothing_else() -> None:
    [(kind, stream, payload)] = Splitter().feed(frames.number_frame(frames.CREDIT, 9, 123456))
    assert (kind, stream, frames.number(payload)) == (frames.CREDIT, 9, 123456)
    for wrong in (b"", b"123", b"12345"):
        with pytest.raises(WireError):
            frames.number(wrong)


@pytest.mark.parametrize(
    ("stream", "other", "expected"),
    [(2, 1, True), (1, 2, False), (1, 1, False), (0, 0xFFFFFFFF, True), (0xFFFFFFFF, 0, False), (5, 0xFFFFFFF0, True)],
)
def test_stream_numbers_are_compared_in_serial_order(stream: int, other: int, expected: bool) -> None:
    assert is_after(stream, other) is expected


def test_a_file_frame_is_these_bytes() -> None:
    """Golden: whoever changes them changes ``VERSION`` too."""
    data = frames.file_frame(frames.FILE_LAST, 7, 1 << 33, 200_000)
    assert (frames.VERSION, data.hex()) == (4, "100000001a070000000000000002000000400d030000000000")
    [(kind, stream, payload)] = Splitter().feed(data)
    assert (kind, stream, frames.unpack_file(payload)) == (frames.FILE_LAST, 7, (1 << 33, 200_000))


def test_frames_of_a_websocket_are_these_bytes() -> None:
    """Golden too."""
    kinds = (frames.SOCKET, frames.SOCKET_PIECE, frames.SOCKET_TEXT, frames.SOCKET_BINARY)
    assert (frames.VERSION, *kinds) == (4, 4, 64, 65, 66)
    assert frames.accept_frame(7, "chat", b"x-a: b\r\n").hex() == "0d0000001d070000000463686174782d613a20620d0a"
    assert frames.close_frame(frames.SOCKET_CLOSE, 7, 1001, "é").hex() == "040000001e07000000e903c3a9"
    assert frames.close_frame(frames.SOCKET_CLOSED, 7, 1006, "").hex() == "020000000507000000ee03"
    assert (frames.SOCKET_GONE, frames.SOCKET_TOLD, frames.MESSAGE_COST) == (6, 31, 64)
    assert frames.unpack_accept(b"\4chatx-a: b\r\n") == ("chat", b"x-a: b\r\n")
    assert frames.unpack_close(b"\xe9\3\xc3\xa9") == (1001, "é")


@pytest.mark.parametrize("payload", [b"", b"\5chat"])
def test_an_acceptance_that_is_too_short_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        frames.unpack_accept(payload)


@pytest.mark.parametrize("payload", [b"", b"\1", b"x" * 126])
def test_a_close_without_a_code_or_with_too_much_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        frames.unpack_close(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\0" * 15, b"\0" * 17, frames.file_frame(frames.FILE, 1, (1 << 63) - 1, 1)[HEADER_BYTES:]]
)
def test_bytes_that_no_file_has_are_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        frames.unpack_file(payload)


def test_a_file_can_always_be_paid_for_when_everything_was_taken() -> None:
    """Credit comes back in halves of a window: less than a half may be missing for good."""
    assert WINDOW - (WINDOW // 2 - 1) >= frames.FILE_COST
