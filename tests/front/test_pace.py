"""How slow is too slow: transcripts of bytes and times."""

from __future__ import annotations

import pytest

from pyserve.front.pace import Pace


def verdicts(moves: list[tuple[float, int]], rate: int = 500, window_s: float = 10.0) -> list[bool]:
    """Say after each ``(time, bytes)`` whether that is too slow."""
    pace = Pace(window_s, rate, 0.0)
    found = []
    for now, count in moves:
        pace.moved(count)
        found.append(pace.is_too_slow(now))
    return found


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([(1, 10), (9.9, 10)], [False, False]),  # a window is not over before its end
        ([(10, 4999)], [True]),
        ([(10, 5000)], [False]),
        ([(9.9, 5000), (10, 0), (20, 0)], [False, False, True]),  # the next one counts anew
        ([(10, 1_000_000), (20, 4999)], [False, True]),  # what came early is no credit for later
        ([(0.1, 1), (9.9, 4999), (10.1, 0)], [False, False, False]),  # nearly a window of silence is fine
    ],
)
def test_every_window_has_to_see_its_bytes(moves: list[tuple[float, int]], expected: list[bool]) -> None:
    assert verdicts(moves) == expected


def test_without_a_rate_any_progress_is_enough() -> None:
    assert verdicts([(10, 1), (20, 0)], rate=0) == [False, True]


def test_time_in_which_nobody_waits_for_the_client_does_not_count() -> None:
    pace = Pace(10, 500, 0.0)
    pace.restart(9.0)
    assert not pace.is_too_slow(18.9)
    assert pace.is_too_slow(19.0)
