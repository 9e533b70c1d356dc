"""What becomes of one application call when a worker lies, a disk is full, or one side is slower than the other."""

from __future__ import annotations

import os
from time import monotonic

import pytest

from pyserve.wire import frames
from pyserve.wire.codec import COMPLETE, pack_answer
from tests.handlers.test_pool import Table
from tests.support.exchanges import FakeExchange

BLOCK = b"content-type: text/plain\r\n"


def say(table: Table, kind: int, stream: int, payload: bytes = b"") -> None:
    table.pool.frames_received(table.worker(), [(kind, stream, payload)])


def begin_answer(table: Table, stream: int, length: int = -1) -> None:
    table.start(stream)
    say(table, frames.ANSWER, stream, pack_answer(200, 0, length, BLOCK))


def upload(table: Table, size: int) -> FakeExchange:
    exchange = table.ask("/", "POST", body=size)
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * size)
    exchange.receiver.body_end()
    return exchange


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_a_gathered_body_gives_its_file_back_when_the_answer_is_out() -> None:
    table = Table()
    before = open_descriptors()
    upload(table, 200_000)
    (stream,) = table.streams()
    table.answer(stream)
    assert open_descriptors() == before


def test_a_body_whose_request_was_given_up_gives_its_file_back() -> None:
    table = Table()
    before = open_descriptors()
    exchange = upload(table, 600_000)
    assert open_descriptors() > before, "more than the window: the rest waits in a file"
    exchange.fail(504, "too late")
    assert open_descriptors() == before


@pytest.mark.parametrize("ended_by", ["client", "front"])
def test_a_body_that_was_given_up_never_looks_whole_to_the_application(ended_by: str) -> None:
    table = Table()
    exchange = upload(table, 600_000)
    (stream,) = table.streams()
    table.start(stream)
    assert exchange.receiver is not None
    if ended_by == "client":
        exchange.end()
        exchange.receiver.client_gone()
    else:
        exchange.fail(504, "too late")
    sent = len(table.channel().data)
    say(table, frames.CREDIT_BODY, stream, (131_072).to_bytes(4, "little"))
    assert table.channel().data[sent:] == []


@pytest.mark.parametrize("kind", [frames.DATA, frames.DATA_LAST])
def test_a_worker_that_sends_a_body_without_a_head_broke_the_rules(kind: int) -> None:
    table = Table()
    table.ask()
    (stream,) = table.streams()
    say(table, kind, stream, b"x")
    assert ("broke", 1) in table.told


@pytest.mark.parametrize("kind", [frames.BUSY, frames.RECALLED])
def test_a_worker_that_gives_back_what_it_has_begun_to_answer_broke_the_rules(kind: int) -> None:
    table = Table()
    table.ask()
    (stream,) = table.streams()
    begin_answer(table, stream)
    say(table, kind, stream)
    assert ("broke", 1) in table.told


@pytest.mark.parametrize("kind", [frames.BUSY, frames.RECALLED])
def test_a_worker_that_gives_back_what_it_has_begun_to_read_broke_the_rules(kind: int) -> None:
    table = Table()
    upload(table, 200_000)
    (stream,) = table.streams()
    say(table, frames.CREDIT_BODY, stream, (131_072).to_bytes(4, "little"))
    say(table, kind, stream)
    assert ("broke", 1) in table.told


def test_a_call_with_half_an_answer_is_not_moved_whatever_the_scoreboard_says() -> None:
    table = Table(workers=2)
    exchange = table.ask()
    (number,) = [n for n in (1, 2) if table.streams(n)]
    (stream,) = table.streams(number)
    table.pool.frames_received(table.worker(number), [(frames.ANSWER, stream, pack_answer(200, 0, -1, BLOCK, b"half"))])
    table.pool.remove(number, "was killed")
    assert exchange.calls[-1] == "fail"


def test_the_time_that_a_client_takes_to_send_its_body_is_not_the_applications() -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask("/", "POST", body=1_000_000)
    (stream,) = table.streams()
    table.start(stream)
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * 1000)
    table.pool.sweep(monotonic() + 31)
    assert (exchange.over, table.told) == (False, [("ready", 1)])
    # It is, once the application has everything.
    exchange.receiver.body_data(b"x" * 199_000)
    exchange.receiver.body_end()
    table.pool.sweep(monotonic() + 29)
    assert not exchange.over
    table.pool.sweep(monotonic() + 31)
    assert table.told[-1] == ("stuck", 1)
    table.timers.fire()
    assert exchange.status == 504


def test_an_application_that_does_not_take_a_body_is_late_all_the_same() -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask("/", "POST", body=1_000_000)
    (stream,) = table.streams()
    table.start(stream)
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * 300_000)  # more than the window
    table.pool.sweep(monotonic() + 31)
    table.timers.fire()
    assert exchange.status == 504


def test_the_time_that_a_client_takes_to_read_is_not_the_applications() -> None:
    table = Table()
    table.pool.spool_bytes = 150_000
    exchange = table.ask()
    (stream,) = table.streams()
    begin_answer(table, stream)
    exchange.is_writable = False
    for _ in range(6):
        say(table, frames.DATA, stream, b"x" * 60_000)
    table.pool.sweep(monotonic() + 31)
    assert (exchange.over, table.told) == (False, [("ready", 1)])


@pytest.mark.parametrize("spool_bytes", [1 << 30, 0])
def test_a_full_disk_cuts_an_answer_and_tells_its_application(
    spool_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table()
    table.pool.spool_bytes = spool_bytes
    exchange = table.ask()
    (stream,) = table.streams()
    begin_answer(table, stream)
    exchange.is_writable = False
    monkeypatch.setattr(table.pool, "spool_dir", "/nonexistent")
    for _ in range(2):
        say(table, frames.DATA, stream, b"x" * 60_000)
    assert exchange.calls[-1] == "fail"
    assert (frames.DISCONNECT, stream, b"") in table.channel().control
    assert ("broke", 1) not in table.told


def test_a_full_disk_fails_a_body_that_streams_and_tells_its_application(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(interface=frames.ASGI)
    monkeypatch.setattr(table.pool, "spool_dir", "/nonexistent")
    exchange = table.ask("/", "POST", body=1_000_000)
    (stream,) = table.streams()
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * 262_144)
    exchange.receiver.body_data(b"x" * 100_000)
    assert exchange.status == 503
    assert (frames.DISCONNECT, stream, b"") in table.channel().control


def test_an_answer_after_the_end_of_its_exchange_changes_nothing() -> None:
    table = Table()
    exchange = table.ask()
    (stream,) = table.streams()
    exchange.fail(504, "too late")
    say(table, frames.ANSWER, stream, pack_answer(200, COMPLETE, 2, BLOCK, b"hi"))
    assert (exchange.status, table.streams()) == (504, [])


@pytest.mark.parametrize("is_whole", [False, True])
def test_the_rest_of_a_body_is_dropped_when_the_application_is_done_and_its_client_still_reads(is_whole: bool) -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask("/", "POST", body=1_000_000)
    (stream,) = table.streams()
    exchange.is_writable = False
    begin_answer(table, stream)
    say(table, frames.DATA_LAST, stream, b"an early answer")
    sent = len(table.channel().data)
    assert (exchange.over, exchange.calls[-1]) == (False, "resume_body")
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * 400_000)
    if is_whole:
        exchange.receiver.body_end()
    assert (len(table.channel().data), exchange.calls[-1]) == (sent, "resume_body")
    exchange.is_writable = True
    exchange.receiver.on_writable()
    exchange.transmit()
    assert exchange.body == b"an early answer"
