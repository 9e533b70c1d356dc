"""How many requests may be tried a second time."""

from __future__ import annotations

from pyserve.balance.retries import LEAST, PART, WINDOW_S, RetryBudget


def taken(budget: RetryBudget, now: float, served: int, most: int = 100_000) -> int:
    return next(count for count in range(most) if not budget.take(now, served))


def test_one_death_may_take_all_requests_of_a_busy_worker_along() -> None:
    assert taken(RetryBudget(), 0.0, 0) == LEAST


def test_a_part_of_what_was_served_may_be_tried_again() -> None:
    budget = RetryBudget()
    assert budget.take(0.0, 1_000_000), "what was served before anything died is long ago"
    assert taken(budget, WINDOW_S - 1, 1_010_000) == PART * 10_000 - 1
    assert taken(budget, WINDOW_S, 1_011_000) == PART * 11_000, "of the last two windows"


def test_what_was_served_long_ago_does_not_count() -> None:
    budget = RetryBudget()
    budget.take(0.0, 0)
    assert taken(budget, 5 * WINDOW_S, 1_000_000) == LEAST
