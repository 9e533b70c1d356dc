"""Transcripts of lives and deaths: when may the next one start?"""

from __future__ import annotations

import itertools

import pytest

from pyserve.master.policy import DELAYS_S, STABLE_S, Restarts


def delays(lives_s: list[float]) -> list[float]:
    """Live one life after the other, each started as soon as allowed; return the waits between them."""
    restarts, now, waits = Restarts(), 100.0, []
    for life_s in lives_s:
        now += life_s
        start_at = restarts.died(now, life_s)
        waits.append(round(start_at - now, 6))
        now = start_at
    return waits


@pytest.mark.parametrize(
    ("lives_s", "waits"),
    [
        ([3600.0], [0.0]),
        ([3600.0] * 5, [0.0] * 5),
        ([0.0], [0.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.1]),
        ([1.0] * 12, [0.0, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]),
        ([0.0] * 6 + [STABLE_S] + [0.0], [0.0, 0.0, 0.1, 0.25, 0.5, 1.0, 0.0, 0.0]),
    ],
    ids=[
        "a long life is followed at once",
        "long lives never add up",
        "the first short life is forgiven",
        "then the waits begin",
        "and grow up to a limit",
        "a long life ends the series",
    ],
)
def test_waits_grow_with_short_lives_only(lives_s: list[float], waits: list[float]) -> None:
    assert delays(lives_s) == waits


def test_after_the_fifth_failure_there_is_at_most_one_start_a_second() -> None:
    assert all(wait_s >= 1.0 for wait_s in delays([0.0] * 60)[5:])
    assert all(one <= two for one, two in itertools.pairwise(DELAYS_S))


def test_a_burst_of_deaths_never_allows_an_earlier_start_than_was_promised() -> None:
    restarts = Restarts()
    promised = [restarts.died(50.0, 0.0) for _ in range(7)]
    assert promised == sorted(promised)
    # One that had lived long dies in the middle of the series: the wait of the others stands.
    assert restarts.died(50.0, STABLE_S) == promised[-1]
    assert restarts.delay_s(50.0) == promised[-1] - 50.0
    assert restarts.delay_s(promised[-1] + 1) == 0.0
