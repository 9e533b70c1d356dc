"""Every case of tests/corpus/h2/, however it is cut, by a reader that has seen nothing and by one that has seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from pyserve.http.h2.frames import unpack_header
from tests.support import h2_corpus
from tests.support.h2_corpus import Case
from tests.support.h2_sessions import Session, block_reader

CASES = h2_corpus.load()
LONG_BYTES = 2048
"""From here on "byte by byte" means so many bytes at once that it stays quick."""


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    size = 1 if len(data) < LONG_BYTES else 509
    return (data[at : at + size] for at in range(0, len(data), size))


def frame_by_frame(data: bytes) -> Iterator[bytes]:
    at = 24 if data.startswith(b"PRI ") else 0
    yield data[:at]
    while len(data) - at >= 9:
        end = at + 9 + (unpack_header(data, at)[0] << 8 | unpack_header(data, at)[1])
        yield data[at:end]
        at = end
    yield data[at:]


def in_frames(data: bytes) -> Iterator[bytes]:
    """Cut in the middle of each frame's header."""
    for piece in frame_by_frame(data):
        yield piece[:5]
        yield piece[5:]


CUTS: list[Callable[[bytes], Iterable[bytes]]] = [whole, byte_by_byte, frame_by_frame, in_frames]


def run(case: Case, cut: Callable[[bytes], Iterable[bytes]], session: Session) -> Session:
    for turn in case.turns:
        session.turn(cut(turn))
    return session


def check(case: Case, session: Session) -> None:
    events = session.events
    if case.answers != -1:
        assert [" ".join(line.split(" ")[:2]) if line.startswith("body") else line for line in events] == [*case.events]
    else:
        assert events == [*case.events]
    sent = [*h2_corpus.sent_frames(session.sent)]
    failed = [line for line in events if line.startswith("failed")]
    assert session.connection.is_over == bool(failed)
    # Everything that is told of a fault is said to the client, and nothing behind the last.
    for line in events:
        word, *rest = line.split(" ")
        if word == "broken":
            assert f"RST_STREAM {rest[0]} {rest[1]}" in sent
    if failed:
        assert sent[-1].startswith("GOAWAY")
        assert sent[-1].endswith(failed[0].removeprefix("failed"))
    if case.sent is not None:
        assert sent[len(sent) - len(case.sent) :] == [*case.sent]
        before = ["SETTINGS 0", "WINDOW_UPDATE 0 458753", "SETTINGS 0 ACK"]
        assert sent[: len(sent) - len(case.sent)] == before[: len(sent) - len(case.sent)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_session_means_the_same_however_its_bytes_come(case: Case) -> None:
    sent = None
    for cut in CUTS:
        session = run(case, cut, Session(answers=case.answers))
        check(case, session)
        if sent is None:
            sent = session.sent
        assert session.sent == sent, f"{cut.__name__}, other than {CUTS[0].__name__}"


def test_what_is_remembered_of_other_sessions_changes_nothing() -> None:
    blocks = block_reader()
    for _ in range(3):
        for case in CASES:
            check(case, run(case, whole, Session(blocks, answers=case.answers)))


def test_there_are_more_cases_than_in_any_public_suite() -> None:
    assert len(CASES) > 200
