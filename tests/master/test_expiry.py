"""The end of a certificate is said in steps, each once."""

from __future__ import annotations

import pytest

from pyserve.master.expiry import is_due, words_before, words_left

DAY = 86400.0


def test_each_step_is_said_once() -> None:
    said = []
    warned = 1 << 30
    for hour in range(40 * 24, -72, -1):
        days = is_due(hour * 3600.0 - 1, warned)
        if days is not None:
            warned = days
            said.append(days)
    assert said == [30, 14, 7, 3, 2, 1, -1]


def test_who_starts_late_hears_only_the_last_step() -> None:
    assert is_due(5 * DAY, 1 << 30) == 7
    assert is_due(5 * DAY, 7) is None
    assert is_due(-1, 7) == -1
    assert is_due(90 * DAY, 1 << 30) is None


@pytest.mark.parametrize(
    ("left_s", "words"),
    [
        (20 * DAY + 1, "expires in 20 days"),
        (30 * 3600, "expires in 30 hours"),
        (1800, "expires in minutes"),
        (-3 * DAY, "expired 3 days ago"),
        (-60, "expired minutes ago"),
    ],
)
def test_the_time_left_in_words(left_s: float, words: str) -> None:
    assert words_left(left_s) == words


def test_since_when_it_is_valid_in_words() -> None:
    assert words_before(1767225600) == "is not valid before 2026-01-01T00:00:00Z"
