"""Credit, the scoreboard and the board."""

from __future__ import annotations

import pytest

from pyserve.wire import board as boards
from pyserve.wire.board import Board
from pyserve.wire.credit import ReceiveWindow, SendWindow
from pyserve.wire.frames import WINDOW, WireError
from pyserve.wire.scoreboard import MAX_FRONTS, MAX_THREADS, PAGE_BYTES, Scoreboard


def test_a_sender_takes_no_more_than_its_window() -> None:
    window = SendWindow()
    assert window.take(1000) == 1000
    assert window.take(WINDOW) == WINDOW - 1000
    assert window.take(1) == 0
    window.add(1000)
    assert window.take(5000) == 1000


def test_credit_for_more_than_was_sent_is_refused() -> None:
    window = SendWindow()
    window.take(10)
    with pytest.raises(WireError):
        window.add(11)


def test_a_receiver_returns_credit_at_half_a_window() -> None:
    window = ReceiveWindow()
    window.received(WINDOW)
    assert window.consumed(WINDOW // 2 - 1) == 0
    assert window.consumed(1) == WINDOW // 2
    window.received(WINDOW // 2)
    with pytest.raises(WireError):
        window.received(1)


def test_both_windows_agree_however_the_bytes_are_cut() -> None:
    sender, receiver = SendWindow(), ReceiveWindow()
    left = 5_000_000
    for step in (1, 65536, 300, 7, 65535):
        for _ in range(20):
            sent = sender.take(min(step, left))
            left -= sent
            receiver.received(sent)
            sender.add(receiver.consumed(sent))
    assert left == 5_000_000 - 20 * (1 + 65536 + 300 + 7 + 65535)


def scoreboard() -> Scoreboard:
    return Scoreboard(memoryview(bytearray(PAGE_BYTES)))


def test_started_streams_are_told_by_front() -> None:
    page = scoreboard()
    page.start(0, 7)
    page.start(MAX_FRONTS - 1, 0xFFFFFFFF)
    assert (page.last_started(0), page.last_started(1), page.last_started(MAX_FRONTS - 1)) == (7, 0, 0xFFFFFFFF)


def test_the_cells_are_the_same_memory_as_start() -> None:
    page = scoreboard()
    cells = page.started_cells()
    cells[3] = 0x01020304
    assert page.last_started(3) == 0x01020304
    assert len(cells) == MAX_FRONTS


def test_threads_and_heartbeat_never_overlap_the_started_streams() -> None:
    page = scoreboard()
    for front in range(MAX_FRONTS):
        page.start(front, front + 1)
    page.beat(2**63)
    for thread in range(MAX_THREADS):
        page.occupy(thread, thread % MAX_FRONTS, thread + 1000, 2**64 - 1, thread + 1)
    assert [page.last_started(front) for front in range(MAX_FRONTS)] == list(range(1, MAX_FRONTS + 1))
    assert page.heartbeat_ns() == 2**63
    assert page.running(5) == (1005, 5, 2**64 - 1, 6)
    page.worked(2**64 - 1, 42)
    assert page.work() == (2**64 - 1, 42)
    assert page.running(MAX_THREADS - 1) == (MAX_THREADS + 999, (MAX_THREADS - 1) % MAX_FRONTS, 2**64 - 1, MAX_THREADS)
    page.free(5)
    assert page.running(5) is None
    assert page.running(6) is not None


def board(fronts: int = 3, slots: int = 4, apps: int = 2) -> Board:
    return Board(memoryview(bytearray(Board.size_bytes(fronts, slots, apps))), fronts, slots, apps)


def test_every_cell_of_the_board_is_its_own() -> None:
    page = board()
    cells = [("front", f, c) for f in range(3) for c in range(boards.FRONT_CELLS)]
    slots = [(f, s, c) for f in range(3) for s in range(4) for c in range(boards.CELLS_PER_SLOT)]
    for value, (_, front, cell) in enumerate(cells, 1):
        page.set_front(front, cell, value)
    for value, (front, slot, cell) in enumerate(slots, 1000):
        page.set_slot(front, slot, cell, value)
    for front in range(3):
        for app in range(2):
            page.set_app(front, app, boards.QUEUED, 5000 + app)
    assert [page.front(front, cell) for _, front, cell in cells] == list(range(1, len(cells) + 1))
    assert [page.slot(*where) for where in slots] == list(range(1000, 1000 + len(slots)))
    assert page.app_total(1, boards.QUEUED) == 3 * 5001


def test_sums_are_over_all_fronts_and_clearing_takes_only_what_is_meant() -> None:
    page = board()
    for front in range(3):
        page.set_slot(front, 1, boards.IN_FLIGHT, 2)
        page.set_slot(front, 2, boards.IN_FLIGHT, 5)
        page.set_front(front, boards.REQUESTS, 9)
        page.set_front(front, boards.CONNECTIONS, 4)
        page.set_app(front, 0, boards.QUEUED, 1)
    page.clear_slot(1)
    assert (page.slot_total(1, boards.IN_FLIGHT), page.slot_total(2, boards.IN_FLIGHT)) == (0, 15)
    page.clear_front(0)
    assert (page.slot_total(2, boards.IN_FLIGHT), page.app_total(0, boards.QUEUED)) == (10, 2)
    assert (page.front(0, boards.CONNECTIONS), page.front(0, boards.REQUESTS)) == (0, 9)
