"""Step 4 of the request path: how much trouble one connection may make before it is told to calm down. Pure.

Everything that costs a server more than its client, and that HTTP/2 allows nevertheless, has a price in points; they
drain away with time, and with each request that gets its answer: a proxy in front brings what many clients do. Who is
over the budget gets GOAWAY (ENHANCE_YOUR_CALM). The prices let through what browsers and busy clients do (a page left
while a hundred answers were under way, a ping a second, small messages of a WebSocket).

Sources: the families of CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2025-8671 (made-you-reset).
"""

from __future__ import annotations

from typing import Final

BUDGET: Final = 10_000
DRAIN_PER_S: Final = 1_000

RESET_BY_CLIENT: Final = 50
"""Of a request under way: two hundred at once, twenty a second on and on."""
EARNED_PER_ANSWER: Final = 5
"""One reset in ten is no attack: ten answers cost the client as much as us."""
RESET_BY_US: Final = 50
"""Because of what the client did."""
REFUSED_STREAM: Final = 25
"""Beyond SETTINGS_MAX_CONCURRENT_STREAMS."""
REFUSED_HEAD: Final = 25
"""Far too many fields: they had to be decoded."""
PING: Final = 10
"""Beyond what the data sent accounts for: some clients measure the round trip with each burst."""
BYTES_PER_PING: Final = 16 * 1024
SETTINGS: Final = 10
SETTINGS_ENTRY: Final = 1
PRIORITY: Final = 10
UNKNOWN_FRAME: Final = 10
EMPTY_DATA: Final = 10
"""Without END_STREAM."""
TINY_DATA: Final = 10
"""Of fewer bytes than any message of a protocol within has."""
TINY_DATA_BYTES: Final = 6
SMALL_DATA: Final = 1
"""Not in a tunnel: messages are small, and have limits of their own."""
SMALL_DATA_BYTES: Final = 64
PADDING: Final = 10
"""More of it than data."""
CONTINUATION: Final = 20
EMPTY_CONTINUATION: Final = 100
TABLE_SIZE_UPDATE: Final = 10
WINDOW_UPDATE: Final = 10
"""Beyond what the data sent accounts for."""
FREE_WINDOW_UPDATES: Final = 200
WINDOW_UPDATES_PER_REQUEST: Final = 2
"""Some clients give back every byte at once, on the stream and on the connection."""
BYTES_PER_WINDOW_UPDATE: Final = 512
"""Sent, for one more free one."""


class Budget:
    """``charge`` adds points; ``is_spent`` once there are too many. ``drain`` with the clock."""

    __slots__ = ("_drained_at", "_limit", "_per_s", "points")

    def __init__(self, limit: int, per_s: int, now: float) -> None:
        self._limit = limit
        self._per_s = per_s
        self._drained_at = now
        self.points = 0.0

    @property
    def is_spent(self) -> bool:
        return self.points > self._limit

    def drain(self, now: float, earned: int = 0) -> None:
        self.points = max(0.0, self.points - (now - self._drained_at) * self._per_s - earned)
        self._drained_at = now
