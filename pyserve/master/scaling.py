"""The scaling policy: how many workers an application needs.

Pure: the caller gives the time and what it has seen. Up at once, as soon as requests have waited (doubling, so that a
short jam does not start them all) or processors have been busy for a while; down only when a worker has not been needed
for ``idle_s``. That difference is the hysteresis: load that swings faster than ``idle_s`` starts and stops nothing.
"""

from __future__ import annotations

from math import ceil, inf
from typing import NamedTuple

from pyserve.config.model import Scaling

FULL = 0.7
"""A worker busier than this, on the average, is as good as full: beyond it queues grow fast."""
BUSY_CPU = 0.85
"""Processor time per worker that is more than one worker should have to bear."""
BUSY_S = 2.0
"""For so long, before another is started because of it."""


class Load(NamedTuple):
    """What was seen of an application. ``slots``: what one worker runs at once."""

    queued: int
    running: int
    slots: int
    served: int = 0
    """Requests answered since the last look."""
    processors: float = 0.0
    """Processor time used since the last look, as a number of processors."""


class Scaler:
    """``most`` workers at most; without ``scaling`` always so many."""

    __slots__ = ("_busy_since", "_idle_s", "_last_needed", "least", "most", "needed")

    def __init__(self, most: int, scaling: Scaling | None, now: float) -> None:
        self.most = most
        self.least = most if scaling is None else scaling.least
        self.needed = self.least
        """How many would do, as of the last look."""
        self._idle_s = inf if scaling is None else scaling.idle_s
        self._last_needed = [now] * (self.least + 1) + [-inf] * (most - self.least)
        """By number of workers: when so many were last needed."""
        self._busy_since: float | None = None

    def pressed(self, now: float, load: Load, present: int) -> int:
        """Requests have waited longer than they should: return how many workers there are to be.

        ``present``: those that serve or boot.
        """
        needed = max(ceil((load.queued + load.running) / load.slots), 1)
        wanted = max(present, min(needed, max(1, 2 * present), self.most))
        self._mark(wanted, now)
        return wanted

    def looked(self, now: float, load: Load, wanted: int, cores: int) -> int:
        """Return how many workers there are to be, of which there are ``wanted`` now. Called about every second."""
        busy = max(load.running / load.slots, load.processors)
        needed = ceil(busy / FULL)
        if load.queued or load.served:
            needed = max(needed, 1)
        self.needed = max(self.least, min(needed, self.most))
        self._mark(self.needed, now)
        if wanted and load.processors >= BUSY_CPU * wanted and wanted < min(cores, self.most):
            if self._busy_since is None:
                self._busy_since = now
            elif now - self._busy_since >= BUSY_S:
                self._busy_since = None
                self._mark(wanted + 1, now)
                return wanted + 1
        else:
            self._busy_since = None
        while wanted > self.least and now - self._last_needed[min(wanted, self.most)] >= self._idle_s:
            wanted -= 1
        return wanted

    def _mark(self, count: int, now: float) -> None:
        for number in range(count + 1):
            self._last_needed[number] = now
