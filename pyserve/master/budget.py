"""The budget of memory that all applications share (``[server] memory``).

Pure but for the figures that it is given. Growth is allowed while there is room; where there is none, workers that
nobody needs now are given up first, wherever they are, and then growth is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Member(Protocol):
    """One application."""

    @property
    def memory_bytes(self) -> int:
        """Upper bound of what its workers take."""

    @property
    def pids(self) -> list[int]: ...
    def shrink(self) -> bool:
        """Give up a worker that is not needed now; False = there is none."""


class Budget:
    """``limit_bytes``: 0 = no budget. ``share_of(pid)``: a process's share of memory, pages that it shares divided."""

    def __init__(self, limit_bytes: int, share_of: Callable[[int], int], warn: Callable[[str], None]) -> None:
        self.limit_bytes = limit_bytes
        self.members: list[Member] = []
        self._share_of = share_of
        self._warn = warn
        self._is_warned = False

    def used_bytes(self) -> int:
        """Return what all workers take. Exact figures cost a walk through page tables: only where it matters."""
        used = sum(member.memory_bytes for member in self.members)
        if used > self.limit_bytes:
            used = sum(self._share_of(pid) for member in self.members for pid in member.pids)
        return used

    def allows(self, grower: Member, more_bytes: int) -> bool:
        """May ``grower`` take so much more? Makes room where it can."""
        if not self.limit_bytes:
            return True
        while self.used_bytes() + more_bytes > self.limit_bytes:
            others = [member for member in self.members if member is not grower]
            others.sort(key=lambda member: -member.memory_bytes)
            if not any(member.shrink() for member in others):
                self._say(more_bytes)
                return False
        self._is_warned = False
        return True

    def enforce(self) -> None:
        """Called now and then: workers grow too. Gives up what is not needed; what is needed stays."""
        if not self.limit_bytes or self.used_bytes() <= self.limit_bytes:
            return
        for member in sorted(self.members, key=lambda member: -member.memory_bytes):
            if member.shrink():
                return
        self._say(0)

    def _say(self, more_bytes: int) -> None:
        if not self._is_warned:
            self._is_warned = True
            used, limit = self.used_bytes() >> 20, self.limit_bytes >> 20
            more = f", and {more_bytes >> 20:,} MiB more are needed" if more_bytes else ""
            self._warn(
                f"memory: applications take {used:,} of {limit:,} MiB{more}; none of it is idle ([server] memory)"
            )
