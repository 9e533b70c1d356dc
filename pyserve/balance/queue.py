"""Step 5 of the request path: in which order those who wait get a worker.

Pure. First come, first served, but for the few in the lane (configured health paths), who stand before all others: of
two places that come free one is theirs, the other goes to somebody else, so that a flood of them starves nobody.
Invariant: the lane is the first ``lane`` of the deque, so everybody else may look at it as one queue.

HOT: to ask whether anybody waits is the C code of ``deque``; so is ``append``.
"""

from __future__ import annotations

from collections import deque
from typing import TypeVar

MOST_IN_LANE = 16
"""Who comes when so many are in the lane waits like all others."""

T = TypeVar("T")


class Queue(deque[T]):
    """``append`` puts somebody at the end. Of ``deque`` use nothing else that changes it but what is defined here."""

    __slots__ = ("_was_lane", "lane")

    def __init__(self) -> None:
        super().__init__()
        self.lane = 0
        self._was_lane = False  # who was last taken

    def append_to_lane(self, item: T) -> bool:
        """Put somebody before all others but the lane; False = it is full."""
        if self.lane >= MOST_IN_LANE:
            return False
        self.insert(self.lane, item)
        self.lane += 1
        return True

    def put_back(self, item: T, *, to_lane: bool) -> None:
        """Somebody was taken and comes back: to the head of the lane, or of those behind it."""
        if to_lane:
            self.appendleft(item)
            self.lane += 1
        else:
            self.insert(self.lane, item)

    def take(self) -> T:
        """Return whose turn it is and let them go. There has to be somebody."""
        lane = self.lane
        if lane and not (self._was_lane and len(self) > lane):
            self._was_lane = True
            return self.take_from_lane()
        self._was_lane = False
        if not lane:
            return self.popleft()
        item = self[lane]
        del self[lane]
        return item

    def take_from_lane(self) -> T:
        """Return the first of the lane, who has found a place that nobody else may have. There has to be one."""
        self.lane -= 1
        return self.popleft()

    def remove(self, item: T) -> None:
        """Somebody leaves. Raises ``ValueError`` if they do not wait here."""
        place = self.index(item)
        del self[place]
        if place < self.lane:
            self.lane -= 1

    def take_all(self) -> list[T]:
        """Return everybody and leave nobody."""
        everybody = list(self)
        self.clear()
        self.lane = 0
        return everybody
