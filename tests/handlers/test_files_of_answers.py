"""What becomes of a file that an answer hands over: its place among the bytes, its credit, and its descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.wire import frames
from pyserve.wire.codec import pack_answer
from tests.handlers.test_pool import Table
from tests.support.exchanges import FakeExchange

BLOCK = b"content-type: text/plain\r\n"
DATA = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def _every_descriptor_is_closed_once() -> Iterator[None]:
    before = os.listdir("/dev/fd")
    yield
    assert os.listdir("/dev/fd") == before


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(DATA)
    return str(tmp_path / "file")


class Play:
    """One request whose answer has begun, and its worker."""

    def __init__(self, *, interface: int = frames.ASGI, length: int = -1, has_head: bool = True) -> None:
        self.table = Table(interface=interface)
        self.exchange: FakeExchange = self.table.ask()
        (self.stream,) = self.table.streams()
        self.table.start(self.stream)
        if has_head:
            self.say(frames.ANSWER, pack_answer(200, 0, length, BLOCK))

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.table.pool.frames_received(self.table.worker(), [(kind, self.stream, payload)])

    def pass_descriptor(self, path: str) -> None:
        self.table.pool.descriptor_received(self.table.worker(), self.stream, os.open(path, os.O_RDONLY))

    def file(self, path: str, offset: int = 0, count: int = len(DATA), *, is_last: bool = False) -> None:
        self.pass_descriptor(path)
        self.say_file(offset, count, is_last=is_last)

    def say_file(self, offset: int = 0, count: int = len(DATA), *, is_last: bool = False) -> None:
        kind = frames.FILE_LAST if is_last else frames.FILE
        self.say(kind, frames.file_frame(kind, self.stream, offset, count)[frames.HEADER_BYTES :])

    @property
    def credit(self) -> list[int]:
        control = self.table.channel().control
        return [frames.number(payload) for kind, _, payload in control if kind == frames.CREDIT]

    @property
    def is_broken(self) -> bool:
        return ("broke", 1) in self.table.told

    def client_takes_all(self) -> None:
        """What was lent has gone to the client, and it takes more."""
        exchange = self.exchange
        while exchange.lent:
            lent, exchange.lent = exchange.lent, []
            for fd, offset, count in lent:
                exchange.body += os.pread(fd, count, offset)
            exchange.is_writable = True
            assert exchange.receiver is not None
            exchange.receiver.on_writable()


def test_a_last_file_ends_the_stream_at_once_and_is_closed_with_the_exchange(path: str) -> None:
    play = Play(interface=frames.WSGI, length=1000)
    play.file(path, 10, 1000, is_last=True)
    assert (play.table.streams(), play.table.worker().outstanding) == ([], 0)
    assert play.exchange.calls[-2:] == ["send_file", "finish"]
    play.client_takes_all()
    play.exchange.end()
    assert play.exchange.body == DATA[10:1010]
    assert play.credit == [], "nobody wants it any more"


def test_a_worker_that_dies_after_its_hand_over_takes_nothing_along(path: str) -> None:
    play = Play(length=len(DATA))
    play.file(path, is_last=True)
    play.table.pool.remove(1, "was killed")
    play.client_takes_all()
    play.exchange.end()
    assert (play.exchange.body, play.exchange.reason) == (DATA, "")


@pytest.mark.parametrize("has_frame", [False, True])
def test_a_worker_that_dies_in_the_middle_leaves_no_descriptor(path: str, has_frame: bool) -> None:
    play = Play()
    play.pass_descriptor(path)
    if has_frame:
        play.say_file()
    play.table.pool.remove(1, "was killed")
    assert play.exchange.calls[-1] == "fail"


def test_a_descriptor_that_came_before_its_answer_is_closed_when_the_call_moves(path: str) -> None:
    play = Play(has_head=False)
    play.table.add_worker(2, frames.ASGI)
    play.pass_descriptor(path)
    play.table.pool.remove(1, "was killed")
    (stream,) = play.table.streams(2)
    play.table.start(stream, 2)
    play.table.answer(stream, number=2)
    assert play.exchange.status == 200


def test_a_client_that_leaves_closes_what_has_come_and_what_comes_later(path: str) -> None:
    play = Play()
    play.pass_descriptor(path)
    play.exchange.end()
    assert play.exchange.receiver is not None
    play.exchange.receiver.client_gone()
    play.say_file()
    play.file(path)
    play.file(path, is_last=True)
    assert (play.is_broken, play.table.streams()) == (False, [])
    assert sum(play.credit) == 2 * frames.FILE_COST, "the last one ends the stream"


def test_files_and_bytes_keep_their_order_for_a_slow_client(path: str) -> None:
    play = Play()
    play.say(frames.DATA, b"one ")
    play.exchange.is_writable = False
    play.say(frames.DATA, b"two ")
    play.file(path, 0, 5)
    play.say(frames.DATA, b" three ")
    assert play.exchange.body == b"one "
    play.exchange.is_writable = True
    assert play.exchange.receiver is not None
    play.exchange.receiver.on_writable()
    play.client_takes_all()
    play.file(path, 5, 5)
    assert not play.exchange.is_writable
    play.say(frames.DATA, b" four ")
    play.say(frames.DATA_LAST, b"five")
    play.client_takes_all()
    assert play.exchange.body == b"one two " + DATA[:5] + b" three " + DATA[5:10] + b" four five"
    assert play.exchange.calls[-1] == "finish"
    play.exchange.end()


def test_a_file_is_closed_and_its_credit_returned_when_the_client_has_taken_it(path: str) -> None:
    play = Play()
    for _ in range(10):
        play.file(path)
        play.file(path)
        play.client_takes_all()
    assert sum(play.credit) == 20 * frames.FILE_COST
    play.say(frames.DATA_LAST)
    play.exchange.end()
    assert play.exchange.body == DATA * 20


def test_a_worker_may_not_pass_more_files_than_it_has_credit_for(path: str) -> None:
    for has_frames in (False, True):
        play = Play()
        for _ in range(2):
            play.pass_descriptor(path)
            if has_frames:
                play.say_file()
        with pytest.raises(frames.WireError, match="more files than credit"):
            play.pass_descriptor(path)
        play.exchange.end()


def test_a_descriptor_that_is_still_in_the_control_channel_is_fetched(path: str) -> None:
    play = Play()
    play.table.channel().on_receive = lambda: play.pass_descriptor(path)  # type: ignore[method-assign]
    play.say_file(is_last=True)
    play.client_takes_all()
    play.exchange.end()
    assert play.exchange.body == DATA


def test_a_file_without_its_descriptor_broke_the_rules() -> None:
    play = Play()
    play.say_file()
    assert play.is_broken
    play.exchange.end()


@pytest.mark.parametrize("kind", [frames.FILE, frames.FILE_LAST])
def test_a_file_before_the_head_broke_the_rules(path: str, kind: int) -> None:
    play = Play(has_head=False)
    play.file(path, is_last=kind == frames.FILE_LAST)
    assert play.is_broken
    play.exchange.end()


@pytest.mark.parametrize("payload", [b"", b"\0" * 15, b"\xff" * 16])
def test_a_file_frame_that_can_t_be_right_broke_the_rules(path: str, payload: bytes) -> None:
    play = Play()
    play.pass_descriptor(path)
    play.say(frames.FILE, payload)
    assert play.is_broken
    play.exchange.end()


def test_a_descriptor_that_is_no_regular_file_broke_the_rules() -> None:
    play = Play()
    reader, writer = os.pipe()
    os.close(writer)
    play.table.pool.descriptor_received(play.table.worker(), play.stream, reader)
    play.say_file()
    assert (play.is_broken, play.exchange.lent) == (True, [])
    play.exchange.end()


@pytest.mark.parametrize(("offset", "count"), [(0, len(DATA) + 1), (len(DATA), 1), (1 << 62, 1)])
def test_bytes_that_are_no_longer_in_the_file_fail_this_request_and_nobody_else(
    path: str, offset: int, count: int
) -> None:
    play = Play()
    play.file(path, offset, count)
    assert (play.exchange.calls[-1], play.exchange.status, play.is_broken) == ("fail", 503, False)
    assert (frames.DISCONNECT, play.stream, b"") in play.table.channel().control


@pytest.mark.parametrize("is_last", [False, True])
def test_a_descriptor_that_was_lost_fails_this_request_and_nobody_else(is_last: bool) -> None:
    play = Play()
    play.table.pool.descriptor_received(play.table.worker(), play.stream, -1)
    play.say_file(is_last=is_last)
    assert (play.exchange.status, play.is_broken) == (503, False)
    assert "too many open files" in play.exchange.reason
    assert ((frames.DISCONNECT, play.stream, b"") in play.table.channel().control) is not is_last
    assert play.table.streams() == ([] if is_last else [play.stream])


def test_a_descriptor_of_a_stream_that_is_over_is_closed(path: str) -> None:
    play = Play()
    play.say(frames.FAILED, b"oh")
    play.pass_descriptor(path)
    assert play.exchange.calls[-1] == "fail"
