"""Who gets the next request, and how much a worker may hold ahead."""

from __future__ import annotations

import pytest

from pyserve.balance.dispatch import MAX_AHEAD, Seat, ServiceTime, choose, choose_reserved

NOW = 1000.0


def seat(slots: int = 1, outstanding: int = 0, elsewhere: int = 0, *, is_open: bool = True) -> Seat:
    made = Seat(slots)
    made.outstanding, made.elsewhere, made.is_open, made.last_progress = outstanding, elsewhere, is_open, NOW
    return made


def test_the_least_busy_open_seat_is_chosen() -> None:
    seats = [seat(4, 3), seat(4, 1), seat(4, 2), seat(4, 0, is_open=False)]
    assert choose(seats, 0, NOW) is seats[1]


def test_a_seat_without_room_is_never_chosen() -> None:
    assert choose([seat(1, 1), seat(2, 2)], 0, NOW) is None


def test_an_idle_seat_comes_before_any_holding_ahead() -> None:
    seats = [seat(1, 1), seat(1, 0)]
    assert choose(seats, 16, NOW) is seats[1]


def test_ahead_is_what_a_seat_may_hold_beyond_its_slots() -> None:
    busy = seat(1, 3)
    assert choose([busy], 3, NOW) is busy
    assert choose([busy], 2, NOW) is None


def test_a_seat_that_does_not_move_gets_nothing_ahead() -> None:
    stalled = seat(1, 1)
    stalled.last_progress = NOW - 0.01
    assert choose([stalled], 16, NOW) is None
    stalled.outstanding = 0
    assert choose([stalled], 16, NOW) is stalled, "idle is not stalled"


def test_what_other_fronts_have_running_counts() -> None:
    assert choose([seat(2, 1, elsewhere=1)], 0, NOW) is None


def test_nothing_is_held_ahead_before_anything_was_measured() -> None:
    assert ServiceTime().ahead() == 0


def test_a_fast_application_gets_requests_ahead_up_to_the_bound() -> None:
    service = ServiceTime()
    service.observe(0.02, 1000)
    assert service.ahead() == MAX_AHEAD


@pytest.mark.parametrize(("slow", "of"), [(1, 1), (1, 2), (1, 20)])
def test_an_application_that_is_often_slow_gets_nothing_ahead(slow: int, of: int) -> None:
    service = ServiceTime()
    for _ in range(10):
        service.observe(slow * 0.02 + (of - slow) * 0.00002, of)
    assert service.ahead() == 0


def test_one_slow_answer_among_many_does_not_change_the_judgement() -> None:
    service = ServiceTime()
    service.observe(0.02, 1000)
    service.observe(0.005 + 0.00002 * 200, 201)
    assert service.ahead() > 0


def test_an_application_that_becomes_slow_loses_what_it_had_ahead() -> None:
    service = ServiceTime()
    service.observe(0.02, 1000)
    service.observe(0.02, 1)
    assert service.ahead() == 0


def test_the_place_for_the_lane_is_beyond_the_slots_and_only_one() -> None:
    full, taken, without = seat(2, 2), seat(2, 3), seat(1, 1)
    full.reserve = taken.reserve = 1
    assert choose([full, taken, without], 0, NOW) is None
    assert choose_reserved([taken, without, full]) is full
    assert choose_reserved([taken, without]) is None


def test_nobody_is_given_the_place_of_a_seat_that_is_closed_or_holds_others_ahead() -> None:
    closed, ahead = seat(2, 2, is_open=False), seat(2, 2, elsewhere=1)
    closed.reserve = ahead.reserve = 1
    assert choose_reserved([closed, ahead]) is None
