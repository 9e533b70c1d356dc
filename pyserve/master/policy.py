"""The restart policy: when may something that died be started again?

Pure: the caller gives the time. A process that lived long is replaced at once, and so is the first that did not;
those that keep dying young are started less and less often, at most one a second after the fifth in a row.
"""

from __future__ import annotations

STABLE_S = 10.0
"""A life of this length ends a series of short ones."""
STABLE_WORKER_S = 1.0
"""The same for workers: one that was ready for so long is no crash loop, whatever killed it."""
DELAYS_S = (0.0, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""After the n-th short life in a row; the last value from then on."""


class Restarts:
    """What is known about the lives of one kind of process (a front, a template, the workers of one app)."""

    __slots__ = ("short_lives", "stable_s", "start_at")

    def __init__(self, stable_s: float = STABLE_S) -> None:
        self.stable_s = stable_s
        self.short_lives = 0
        self.start_at = 0.0
        """Nothing is started before this time."""

    def died(self, now: float, lived_s: float) -> float:
        """Count a death after ``lived_s`` of use (0 = it never became ready); return when the next may start."""
        self.short_lives = 0 if lived_s >= self.stable_s else self.short_lives + 1
        delay = DELAYS_S[min(self.short_lives, len(DELAYS_S)) - 1] if self.short_lives else 0.0
        # Never earlier than promised before: deaths of several workers at once are one series.
        self.start_at = max(self.start_at, now + delay)
        return self.start_at

    def delay_s(self, now: float) -> float:
        """Return how long to wait before the next start, 0 = start now."""
        return max(0.0, self.start_at - now)
