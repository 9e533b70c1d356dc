"""A session of HTTP/2 means the same however its bytes come, and however much was seen before; a fault is its end.

Whatever goes out is whole frames, a GOAWAY only at the end or to say why.
"""

from __future__ import annotations

from functools import cache

from pyserve.http.h2 import frames as f
from pyserve.http.h2.heads import BlockReader
from pyserve.http.h2.sending import Settings
from tests.fuzz.chance import Chance, mostly, repeat, some_bytes
from tests.fuzz.reading import cut_anywhere
from tests.support.h2_corpus import OPENING, block, load, sent_frames
from tests.support.h2_sessions import Session, block_reader

SETTINGS = Settings(
    max_concurrent_streams=4, initial_window=200, connection_window=70_000, enable_connect=True, budget=2_000
)
"""So small that inputs of a fuzzer get there."""
STREAMS = (1, 3, 1, 5, 3, 7, 9, 11, 0, 2, 13, 2**31 - 1)
KINDS = (
    f.HEADERS, f.DATA, f.HEADERS, f.DATA, f.HEADERS, f.WINDOW_UPDATE, f.SETTINGS, f.PING, f.RST_STREAM,
    f.PRIORITY, f.PRIORITY_UPDATE, 99, f.GOAWAY, f.SETTINGS, f.RST_STREAM, f.CONTINUATION, f.PUSH_PROMISE,
)  # fmt: skip
BLOCKS = (
    b"\x82\x84\x87\x41\x01a", b"\x83\x84\x87\x01\x01a", b"\x82\x87\x04\x02/b\x01\x01a\x00\x01x\x01y",
    block("POST / | content-length: 3"), block("GET /%00"),
    block("GET / | cookie: a=b | cookie: c=d"), b"\x82\x84\x87\x41\x81\x1f", b"\x20\x82\x84\x87\x01\x01a",
    b"\x82\x84\x87\x01\x01a\x60\x01c",
)  # fmt: skip
NASTY_BLOCKS = (
    b"\x82\x87\xbe\x04\x02/c", b"\x82\x84\x87\xbe",
    b"", b"\x80", b"\xff\xff\xff\xff\xff", b"\x3f\xff\xff\x7f", b"\x82", block("GET / | X: y"), block("GET / | te: x"),
    block("GET / | x: a\r\nb"), b"\x82\x84\x87\x41\x05a", b"\x82\x84\x87\x01\x01a" + b"\xbe" * 300,
    block(":method: CONNECT | :authority: a:443"), b"\x82\x84\x87\x41\x81\x18",
)  # fmt: skip
TRAILERS = (b"\x40\x01x\x01y", b"\x00\x01x\x01y", b"")
WINDOWS = [number.to_bytes(4, "big") for number in (0, 2**31 - 1, 2**32 - 1)] + [b"", b"\0\0\1", b"\0" * 5]
NUMBERS = (1, 100, 0, 65_535, 2**31 - 1, 2**32 - 1)
DICTIONARY = (
    *BLOCKS, *NASTY_BLOCKS[1:], f.PREFACE, f.ACKED_SETTINGS, f.frame(f.DATA, 1, 1, b"abc"), f.rst_stream(1, 8),
    f.window_update(1, 100), f.window_update(0, 100), f.frame(f.HEADERS, 5, 1, BLOCKS[0]), b"\0\0\1", b"\x05",
    f.frame(f.CONTINUATION, 4, 1, b"\x84"),
)  # fmt: skip


def make(chance: Chance) -> bytes:
    """Frames that are mostly right, on streams that are mostly open."""
    made = [mostly(chance, (OPENING,), (b"", f.PREFACE, f.PREFACE[:9], OPENING[:30]), 60)]
    opened: list[int] = []
    for _ in range(chance.below(12)):
        kind = pick_number(chance, KINDS if chance.below(3) == 2 else KINDS[:6])
        if not opened and chance.below(6):
            kind = f.HEADERS
        if kind == f.HEADERS:
            made.append(_head(chance, opened))
            continue
        stream = opened[chance.below(len(opened))] if opened and chance.below(12) else pick_number(chance, STREAMS)
        made.append(_frame(chance, kind, stream))
    return b"".join(made)


def _head(chance: Chance, opened: list[int]) -> bytes:
    """A request on the next stream, or trailers, or something else."""
    choice = chance.below(12)
    flags = pick_number(chance, (5, 4, 5, 4, 37, 13, 45, 1, 0))
    if choice == 11:
        stream, payload = pick_number(chance, STREAMS), mostly(chance, BLOCKS, NASTY_BLOCKS, 2)
    elif choice > 8 and opened:
        stream, payload, flags = opened[chance.below(len(opened))], mostly(chance, TRAILERS, NASTY_BLOCKS), 5
    else:
        stream = opened[-1] + 2 if opened else 1
        opened.append(stream)
        payload = mostly(chance, BLOCKS, NASTY_BLOCKS, 20)
    if flags & f.HAS_PRIORITY:
        payload = mostly(chance, (b"\0\0\0\0\x10",), (b"\0\0\0\1\x10", b"\0")) + payload
    if flags & f.PADDED:
        payload = mostly(chance, (b"\1%b\0" % payload, b"\0" + payload), (b"\xff" + payload, b""))
    frame = f.frame(f.HEADERS, flags, stream, payload)
    if flags & f.END_HEADERS or chance.below(12) == 11:
        return frame
    return frame + f.frame(f.CONTINUATION, pick_number(chance, (4, 4, 4, 0)), stream, mostly(chance, TRAILERS, BLOCKS))


def _frame(chance: Chance, kind: int, stream: int) -> bytes:
    flags = 0
    if kind == f.DATA:
        flags = pick_number(chance, (0, 1, 0, 8, 9))
        payload = mostly(chance, (b"abc", b"", b"x" * 100), (b"y" * 201, b"\x05", b"z" * 16_385))
        if flags & f.PADDED:
            payload = mostly(chance, (b"\2%b\0\0" % payload, b"\0" + payload), (b"\xff" + payload, b""), 30)
    elif kind == f.SETTINGS:
        flags = pick_number(chance, (0, 0, 0, 1))
        stream = 0 if chance.below(12) else stream
        payload = b"" if flags else repeat(chance, 3, _setting)
    elif kind == f.CONTINUATION:
        payload = mostly(chance, BLOCKS, NASTY_BLOCKS, 3)
    elif kind == f.WINDOW_UPDATE:
        stream = stream if chance.below(2) else 0
        payload = mostly(chance, [number.to_bytes(4, "big") for number in NUMBERS[:2]], WINDOWS)
    elif kind == f.RST_STREAM:
        payload = mostly(chance, (b"\0\0\0\x08", b"\0\0\0\0"), (b"", b"\0\0\1", b"\0" * 5))
    elif kind == f.PING:
        stream = 0 if chance.below(12) else stream
        flags = pick_number(chance, (0, 1))
        payload = mostly(chance, (b"12345678",), (b"", b"123456789"))
    elif kind == f.PRIORITY:
        payload = mostly(chance, (b"\0\0\0\0\x10",), (b"\0\0\0\1\x10", b"\0"))
    else:
        stream = 0 if chance.below(12) else stream
        payload = mostly(chance, (b"\0\0\0\3u=1", b"\0" * 8), (b"", b"\0")) + some_bytes(chance, 2)
    return f.frame(kind, flags, stream, payload)


def _setting(chance: Chance) -> bytes:
    key = pick_number(chance, (4, 1, 5, 2, 3, 6, 8, 9, 77))
    return key.to_bytes(2, "big") + pick_number(chance, (0, 1, 100, 16_384, *NUMBERS)).to_bytes(4, "big")


def pick_number(chance: Chance, choices: tuple[int, ...]) -> int:
    return choices[chance.below(len(choices))]


def seeds() -> tuple[bytes, ...]:
    return tuple(case.data for case in load() if len(case.data) <= 1024)


@cache
def _seen() -> BlockReader:
    return block_reader(12)


def check(data: bytes) -> None:
    first = run([data], block_reader(12))
    for name, pieces in (
        ("byte by byte", [data[at : at + 1] for at in range(len(data))] if len(data) < 600 else cut_anywhere(data, 3)),
        ("anywhere", cut_anywhere(data, 1)),
    ):
        other = run(pieces, block_reader(12))
        assert other.events == first.events, f"whole or {name}: {first.events} or {other.events}"
        assert other.sent == first.sent, f"other bytes go out whole or {name}"
    seen = run([data], _seen())
    assert seen.events == first.events, "other events at second sight"
    assert seen.sent == first.sent, "other bytes go out at second sight"
    failed = [at for at, line in enumerate(first.events) if line.startswith("failed")]
    assert failed in ([], [len(first.events) - 1]), "something comes behind the end"
    frames = [line.split(" ") for line in sent_frames(first.sent)]
    assert ("GOAWAY" in [words[0] for words in frames]) == bool(failed)
    assert not failed or frames[-1][0] == "GOAWAY"
    assert first.connection.open_streams <= SETTINGS.max_concurrent_streams
    asked = [line.split(" ")[1] for line in first.events if line.startswith(("request", "refused"))]
    assert len(set(asked)) == len(asked), "a stream is a request twice"
    assert first.connection.data_to_send() == b""


def run(pieces: list[bytes], blocks: BlockReader) -> Session:
    """One turn, so that answers come at the same point of every run, and the end of all deadlines."""
    made = Session(blocks, SETTINGS, answers=300)
    made.turn(pieces)
    made.pass_time(0.25)
    return made
