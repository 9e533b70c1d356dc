"""How many requests may be tried a second time."""

from __future__ import annotations

from pyserve.balance.retries import LEAST_PER_S, SHARE, WINDOW_S, RetryBudget

NOW = 1000.0
ALWAYS = LEAST_PER_S * WINDOW_S


def count(budget: RetryBudget, now: float, running: int = 0) -> int:
    """Take until there is no more."""
    taken = 0
    while budget.take(running, now):
        taken += 1
    return taken


def test_a_few_are_allowed_without_any_traffic() -> None:
    assert count(RetryBudget(), NOW) == ALWAYS


def test_with_more_traffic_it_is_a_share_of_the_requests_of_late() -> None:
    budget = RetryBudget()
    budget.observe(5000, NOW)
    budget.observe(10_000, NOW + 1)
    assert count(budget, NOW + 1) == 10_000 * SHARE


def test_requests_that_run_are_requests_too() -> None:
    assert count(RetryBudget(), NOW, running=2000) == 2000 * SHARE


def test_what_was_used_comes_back_with_time() -> None:
    budget = RetryBudget()
    assert count(budget, NOW) == ALWAYS
    assert not budget.take(0, NOW + WINDOW_S - 1)
    assert count(budget, NOW + WINDOW_S) == ALWAYS


def test_requests_of_long_ago_allow_nothing() -> None:
    budget = RetryBudget()
    budget.observe(10_000, NOW)
    assert count(budget, NOW + WINDOW_S) == ALWAYS


def test_the_total_is_counted_once() -> None:
    budget = RetryBudget()
    for tick in range(40):
        budget.observe(10_000, NOW + tick / 4)
    assert count(budget, NOW + WINDOW_S - 1) == 10_000 * SHARE
