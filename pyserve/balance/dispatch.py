"""Step 5 of the request path: which worker gets the next request, and how many it may hold ahead (D11, D12).

Pure: the caller passes the time and what other fronts have in flight. Slots count what runs; the queue is the
caller's. Invariant: a request is put behind another one only while the application's measured service time is short,
and comes back (the caller recalls it) as soon as that turns out to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

MAX_AHEAD = 16
AHEAD_WORK_S = 0.001
"""Expected work that a worker may hold ahead."""
FAST_S = 0.0005
"""Applications slower than this get nothing ahead."""
RECALL_AFTER_S = 0.002
STALLED_S = 0.001
MEASURE_EVERY_S = 0.02
_WEIGHT = 0.3


class ServiceTime:
    """The mean time that a request takes in a worker, as the workers themselves measure it.

    Fed with sums over a while, not with single requests: on a busy machine a process that loses its core for some
    milliseconds would look slow. Unknown counts as slow.
    """

    __slots__ = ("_is_known", "seconds")

    def __init__(self) -> None:
        self.seconds = FAST_S
        self._is_known = False

    def observe(self, busy_s: float, requests: int) -> None:
        """Take the time that ``requests`` of one worker took together."""
        sample = busy_s / requests
        if self._is_known:
            self.seconds += (sample - self.seconds) * _WEIGHT
        else:
            self.seconds = sample
            self._is_known = True

    def ahead(self) -> int:
        """How many requests a worker may hold beyond what it runs."""
        if self.seconds >= FAST_S:
            return 0
        return min(MAX_AHEAD, int(AHEAD_WORK_S / max(self.seconds, 1e-6)))


class Seat:
    """A worker as dispatch sees it.

    ``slots`` it has, ``outstanding`` it holds from this front, ``elsewhere`` from others.
    """

    __slots__ = ("elsewhere", "is_open", "last_progress", "outstanding", "reserve", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.reserve = 0
        """Slots beside those, for who is in the lane of the queue."""
        self.outstanding = 0
        self.elsewhere = 0
        self.last_progress = 0.0
        """When it last answered, or began to work after it had been idle."""
        self.is_open = False
        """Ready, and neither draining nor gone."""


S = TypeVar("S", bound=Seat)


def choose(seats: Iterable[S], ahead: int, now: float) -> S | None:
    """Return the least busy open seat with room for one more (slots, then ``ahead``), or None if there is none.

    A seat that has made no progress for ``STALLED_S`` gets nothing ahead, however fast the application is as a rule.
    """
    best: S | None = None
    least = 1 << 30
    for seat in seats:
        if seat.is_open:
            load = seat.outstanding + seat.elsewhere
            if load < least and (
                load < seat.slots or (load < seat.slots + ahead and now - seat.last_progress < STALLED_S)
            ):
                best = seat
                least = load
    return best


def choose_reserved(seats: Iterable[S]) -> S | None:
    """Return the least busy open seat that has a place for one of the lane, or None if there is none.

    Nobody may be held ahead there: whoever comes later to a seat begins later.
    """
    best: S | None = None
    least = 1 << 30
    for seat in seats:
        load = seat.outstanding + seat.elsewhere
        if seat.is_open and load < seat.slots + seat.reserve and load < least:
            best = seat
            least = load
    return best
