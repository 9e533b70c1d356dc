"""Credit: the only brake between front and worker.

Pure. The sender of a stream's bytes holds a ``SendWindow``; the receiver holds a ``ReceiveWindow`` and returns credit
when half a window was taken by whoever reads. An answer that fits into the window never costs a credit frame.
"""

from __future__ import annotations

from .frames import WINDOW, WireError


class SendWindow:
    """How many more bytes may be sent. ``take`` before sending, ``add`` when credit arrives."""

    __slots__ = ("available",)

    def __init__(self, window: int = WINDOW) -> None:
        self.available = window

    def take(self, wanted: int) -> int:
        """Return how many of ``wanted`` bytes may go now (0 = wait for credit)."""
        granted = min(wanted, self.available)
        self.available -= granted
        return granted

    def add(self, credit: int) -> None:
        self.available += credit
        if self.available > WINDOW:
            raise WireError(f"credit of {credit} bytes more than was sent")


class ReceiveWindow:
    """What the other side may still send. ``received`` checks it, ``consumed`` says when to return credit."""

    __slots__ = ("_allowed", "_unreturned")

    def __init__(self, window: int = WINDOW) -> None:
        self._allowed = window
        self._unreturned = 0

    def received(self, count: int) -> None:
        """Count bytes that arrived; raise ``WireError`` if they were more than allowed."""
        self._allowed -= count
        if self._allowed < 0:
            raise WireError(f"{-self._allowed} bytes beyond the window")

    def consumed(self, count: int) -> int:
        """Count bytes that were taken; return the credit to send now, 0 = none yet."""
        self._unreturned += count
        if self._unreturned < WINDOW // 2:
            return 0
        credit, self._unreturned = self._unreturned, 0
        self._allowed += credit
        return credit
