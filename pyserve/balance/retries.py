"""Step 5 of the request path: how many requests may be tried a second time.

Pure: the caller gives the time and what was served. A request that kills its worker must not cost more than two, and a
pool whose workers die all the time must not do everything twice.
"""

from __future__ import annotations

WINDOW_S = 10.0
PART = 0.2
"""Of the requests of the last one to two windows."""
LEAST = 100
"""In a window, whatever was served: one death may take all requests of a busy worker along."""


class RetryBudget:
    __slots__ = ("_before", "_served_at_start", "_started_at", "_used")

    def __init__(self) -> None:
        self._started_at = float("-inf")
        self._served_at_start = 0
        self._before = 0
        self._used = 0

    def take(self, now: float, served: int) -> bool:
        """Take one retry; False = there is none left. ``served``: requests answered so far, ever."""
        if now - self._started_at >= WINDOW_S:
            is_next = now - self._started_at < 2 * WINDOW_S
            self._before = served - self._served_at_start if is_next else 0
            self._started_at, self._served_at_start, self._used = now, served, 0
        if self._used >= max(LEAST, PART * (self._before + served - self._served_at_start)):
            return False
        self._used += 1
        return True
