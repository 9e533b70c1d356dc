"""Step 3 of the request path: is a client that makes progress making enough of it?

Pure. A transfer is looked at in windows of a time-out: each has to move ``min_rate`` bytes for each of its seconds (any
progress, where that is 0). So a client may stall for nearly a window, and one that drips is found out within two.
"""

from __future__ import annotations


class Pace:
    """One direction of a transfer. ``moved`` counts bytes, ``is_too_slow`` judges when a window is over."""

    __slots__ = ("_due", "_least", "_left", "_window_s")

    def __init__(self, window_s: float, rate_bytes: int, now: float) -> None:
        self._window_s = window_s
        self._least = max(1, int(rate_bytes * window_s))
        self.restart(now)

    def restart(self, now: float) -> None:
        """From now on it is the client that is waited for."""
        self._due = now + self._window_s
        self._left = self._least

    def moved(self, count: int) -> None:
        self._left -= count

    def is_due(self, now: float) -> bool:
        """Is the window over?"""
        return now >= self._due

    def is_too_slow(self, now: float) -> bool:
        """True if the window is over and saw too little; a window that saw enough is followed by the next."""
        if now < self._due:
            return False
        if self._left > 0:
            return True
        self.restart(now)
        return False
