"""Whatever a worker writes, however it is cut, is whole frames in order or a ``WireError``; answers likewise."""

from __future__ import annotations

from pyserve.wire import frames, messages
from pyserve.wire.codec import UNKNOWN_LENGTH, pack_answer, unpack_answer
from pyserve.wire.frames import HEADER_BYTES, Splitter, WireError, frame
from tests.fuzz.chance import Chance, pick, repeat, some_bytes
from tests.fuzz.reading import cuts

KINDS = (*range(1, 7), *range(16, 32), *range(32, 36), 48, 49, *range(64, 69), 0, 255)
SIZES = (0, 1, 4, 9, 15, 64 * 1024, 64 * 1024 + 1, 320 * 1024, 320 * 1024 + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
DICTIONARY = (
    *[size.to_bytes(4, "little") for size in SIZES], *[bytes([kind]) for kind in KINDS], b"\xff" * 8, b"\x00" * 8,
    b"\xc8\x00", b"\x57\x02", b"\x58\x02", b"\x64\x00",
)  # fmt: skip


def make(chance: Chance) -> bytes:
    data = repeat(chance, 5, make_frame)
    if chance.below(4) == 3:
        data += pick(chance, DICTIONARY) + some_bytes(chance, 12)
    return data


def make_frame(chance: Chance) -> bytes:
    kind = KINDS[chance.below(len(KINDS))]
    payload = make_answer(chance) if kind == frames.ANSWER else some_bytes(chance, 12)
    data = frame(kind, (0, 1, 2, (1 << 32) - 1)[chance.below(4)], payload)
    return data if chance.below(12) < 11 else pick(chance, DICTIONARY) + data[4:]


def make_answer(chance: Chance) -> bytes:
    status = (200, 404, 599, 100, 0, 600, 65535)[chance.below(7) if chance.below(3) == 2 else 0]
    length = (UNKNOWN_LENGTH, 0, 5, 1 << 62, -2, -(1 << 63))[chance.below(6)]
    return pack_answer(status, chance.below(16), length, b"x: y\r\n" * chance.below(3), some_bytes(chance, 5))


def seeds() -> tuple[bytes, ...]:
    answer = frame(frames.ANSWER, 1, pack_answer(200, 1, 2, b"x: y\r\n", b"hi"))
    file = frames.file_frame(frames.FILE_LAST, 1, 4096, 100_000)
    return (
        frame(frames.HELLO, 0, b"\x01\x02") + answer,
        frame(frames.DATA, 1, b"x" * 50) + frame(frames.DATA_LAST, 1),
        frame(frames.DESCRIPTOR, 1) + file,
    )


def check(data: bytes) -> None:
    first: tuple[list[tuple[int, int, bytes]], bool] | None = None
    for name, pieces in cuts(data):
        received, is_refused = split(pieces)
        taken = b"".join([frame(kind, stream, payload) for kind, stream, payload in received])
        assert data.startswith(taken), f"{name}: frames that were not sent"
        if first is None:
            first = received, is_refused
            for _, _, payload in received:
                check_payload(payload)
        else:
            assert is_refused == first[1], f"whole or {name}: another verdict"
            # What stands before a broken frame in the same piece is lost with it: whoever sent it is given up on.
            assert is_refused or received == first[0], f"whole or {name}: other frames"
        if not is_refused:
            assert len(data) - len(taken) < HEADER_BYTES + frames.MAX_HEAD_PAYLOAD + frames.MAX_PAYLOAD
    check_payload(data)
    check_messages(data)


def split(pieces: list[bytes]) -> tuple[list[tuple[int, int, bytes]], bool]:
    splitter = Splitter()
    received: list[tuple[int, int, bytes]] = []
    try:
        for piece in pieces:
            received += splitter.feed(piece)
    except WireError:
        return received, True
    return received, False


def check_payload(payload: bytes) -> None:
    for read in (
        frames.number,
        frames.unpack_file,
        frames.unpack_accept,
        frames.unpack_close,
        messages.number,
        messages.forked,
        messages.exited,
    ):
        try:
            read(payload)
        except WireError:
            pass
    try:
        status, flags, length, block, body = unpack_answer(payload)
    except WireError:
        return
    assert 200 <= status <= 599
    assert length >= UNKNOWN_LENGTH
    assert pack_answer(status, flags, length, block, body) == payload, "an answer is not what was sent"


def check_messages(data: bytes) -> None:
    splitter = messages.MessageSplitter()
    received = []
    try:
        for at in range(0, len(data), 7):
            received += splitter.feed(data[at : at + 7], [])
    except WireError:
        return
    whole = messages.MessageSplitter().feed(data, [])
    assert received == whole, "messages depend on how they were cut"
