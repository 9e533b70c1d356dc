"""Step 5 of the request path: how many requests may be tried a second time after their worker died.

Pure: the caller passes the time and how many requests there have been. A request that kills its worker kills another
when it is tried again: the budget keeps an application that dies of its requests from dying twice as fast, and those
that wait from paying for it. What had not begun moves without it.
"""

from __future__ import annotations

from collections import deque

SHARE = 0.2
"""Of the requests of the last ``WINDOW_S``."""
LEAST_PER_S = 10
"""So many are always allowed: over the window, a worker's default concurrency."""
WINDOW_S = 10


class RetryBudget:
    """Counts in whole seconds, so that it stays small."""

    __slots__ = ("_seconds", "_total")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # second, requests, retries; oldest first
        self._total = 0

    def observe(self, total: int, now: float) -> None:
        """Take how many requests there have been in all. Called a few times a second."""
        if total != self._total:
            self._second(now)[1] += total - self._total
            self._total = total

    def take(self, running: int, now: float) -> bool:
        """May one more be tried again? ``running``: requests that have not ended, which are not counted yet."""
        second = self._second(now)
        requests = running + sum(entry[1] for entry in self._seconds)
        retries = sum(entry[2] for entry in self._seconds)
        if retries >= max(LEAST_PER_S * WINDOW_S, SHARE * requests):
            return False
        second[2] += 1
        return True

    def _second(self, now: float) -> list[int]:
        """Return the entry of this second, and forget those that are too old."""
        seconds = self._seconds
        number = int(now)
        if not seconds or seconds[-1][0] != number:
            seconds.append([number, 0, 0])
        while seconds[0][0] <= number - WINDOW_S:
            seconds.popleft()
        return seconds[-1]
