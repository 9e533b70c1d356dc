"""Transcripts of load: how many workers are there to be?"""

from __future__ import annotations

from pyserve.config.model import Scaling
from pyserve.master.scaling import BUSY_S, Load, Scaler

IDLE_S = 60.0


def scaler(least: int = 1, most: int = 8, now: float = 0.0) -> Scaler:
    return Scaler(most, Scaling(least, IDLE_S), now)


def waiting(queued: int, running: int = 0, slots: int = 1) -> Load:
    return Load(queued, running, slots)


def idle(running: int = 0, served: int = 0, processors: float = 0.0, slots: int = 1) -> Load:
    return Load(0, running, slots, served, processors)


def test_waiting_requests_double_the_workers_until_there_are_enough() -> None:
    one = scaler()
    present, steps = 1, []
    for step in range(4):
        present = one.pressed(step * 0.05, waiting(20, present), present)
        steps.append(present)
    assert steps == [2, 4, 8, 8]


def test_no_more_are_started_than_there_is_work_for() -> None:
    assert scaler().pressed(0.0, waiting(2, 4), 4) == 6
    assert scaler().pressed(0.0, waiting(1, 100, slots=100), 1) == 2
    assert scaler().pressed(0.0, waiting(0, 1), 3) == 3, "the queue has run empty meanwhile"


def test_the_first_request_gets_a_worker() -> None:
    assert scaler(least=0).pressed(0.0, waiting(1), 0) == 1
    assert scaler(least=0).pressed(0.0, waiting(50), 0) == 1, "the first one shows first that it boots"


def test_a_worker_that_was_not_needed_for_long_goes() -> None:
    one = scaler()
    one.pressed(100.0, waiting(20, 4), 4)
    assert one.looked(100.0 + IDLE_S - 1, idle(), 8, 4) == 8
    assert one.looked(100.0 + IDLE_S, idle(), 8, 4) == 1


def test_those_that_are_needed_now_and_then_stay() -> None:
    one = scaler()
    one.pressed(0.0, waiting(20, 4), 4)
    one.looked(50.0, idle(running=3), 8, 4)  # 3 of 5 busy: five are needed
    assert one.looked(IDLE_S, idle(), 8, 4) == 5
    assert one.looked(50.0 + IDLE_S, idle(), 5, 4) == 1


def test_load_that_swings_faster_than_the_idle_time_changes_nothing() -> None:
    one, wanted = scaler(), 8
    one.pressed(0.0, waiting(20, 4), 4)
    for second in range(1, 600):
        wanted = one.looked(float(second), idle(running=5 if second % 40 == 0 else 0), wanted, 4)
        assert wanted == 8


def test_an_application_that_nobody_asks_goes_to_zero_and_one_that_is_asked_now_and_then_stays_at_one() -> None:
    one = scaler(least=0)
    one.pressed(0.0, waiting(1), 0)
    for second in range(1, 200):
        assert one.looked(float(second), idle(served=1 if second % 50 == 0 else 0), 1, 4) == 1
    assert one.looked(150.0 + IDLE_S, idle(), 1, 4) == 0


def test_busy_processors_start_another_one_where_there_are_more_processors() -> None:
    one = scaler()
    load = idle(running=30, slots=100, processors=0.97)
    assert [one.looked(second, load, 1, 4) for second in (0.0, BUSY_S - 0.5, BUSY_S)] == [1, 1, 2]
    assert [one.looked(second, load, 1, 1) for second in (10.0, 20.0)] == [1, 1], "one processor has no more to give"


def test_a_short_burst_of_computing_starts_nothing() -> None:
    one = scaler()
    loads = [0.97, 0.2] * 5
    assert [one.looked(float(at), idle(processors=busy), 1, 4) for at, busy in enumerate(loads)] == [1] * 10


def test_a_fixed_number_stays() -> None:
    one = Scaler(4, None, 0.0)
    assert one.looked(1e9, idle(), 4, 4) == 4
    assert one.pressed(0.0, waiting(100, 4), 4) == 4
