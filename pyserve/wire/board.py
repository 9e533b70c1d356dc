"""The board: shared memory that the master makes and every front maps (D6, D12).

Pure: works on any writable buffer. Each front writes only its own column, so nothing is ever lost to a race; a reader
sums the columns. Figures survive the front that wrote them; the master clears what must not survive (in-flight
counts).

Layout: per front a column of u64: FRONT_CELLS of its own, then CELLS_PER_SLOT per worker slot, then CELLS_PER_APP per
app.
"""

from __future__ import annotations

import struct

_U64 = struct.Struct("<Q")

# Cells of a front.
CONNECTIONS, REQUESTS, REPEATED = range(3)
# Of its file cache, in the order of ``files.cache.Figures``: from here on.
FILES = 3
# Of its handshakes, in the order of ``front.tls.handshakes.FIGURES``: from here on.
TLS = 11
FRONT_CELLS = 24
_SLOTS_AT = 8 * FRONT_CELLS
# Cells of a worker slot, in each front's column.
IN_FLIGHT, SERVED, SOCKETS = range(3)
CELLS_PER_SLOT = 3
# Cells of an app, in each front's column.
(QUEUED,) = range(1)
CELLS_PER_APP = 2


class Board:
    """``memory``: a writable buffer of ``Board.size_bytes(...)``; the geometry never changes while a board lives."""

    __slots__ = ("_apps", "_apps_at", "_column", "_memory", "fronts", "slots")

    def __init__(self, memory: memoryview, fronts: int, slots: int, apps: int) -> None:
        self._memory = memory
        self.fronts = fronts
        self.slots = slots
        self._apps = apps
        self._apps_at = 8 * (FRONT_CELLS + CELLS_PER_SLOT * slots)
        self._column = self._apps_at + 8 * CELLS_PER_APP * apps

    @staticmethod
    def size_bytes(fronts: int, slots: int, apps: int) -> int:
        return 8 * fronts * (FRONT_CELLS + CELLS_PER_SLOT * slots + CELLS_PER_APP * apps)

    def set_front(self, front: int, cell: int, value: int) -> None:
        _U64.pack_into(self._memory, self._column * front + 8 * cell, value)

    def front(self, front: int, cell: int) -> int:
        return int(_U64.unpack_from(self._memory, self._column * front + 8 * cell)[0])

    def set_slot(self, front: int, slot: int, cell: int, value: int) -> None:
        _U64.pack_into(self._memory, self._column * front + _SLOTS_AT + 24 * slot + 8 * cell, value)

    def slot(self, front: int, slot: int, cell: int) -> int:
        return int(_U64.unpack_from(self._memory, self._column * front + _SLOTS_AT + 24 * slot + 8 * cell)[0])

    def slot_total(self, slot: int, cell: int) -> int:
        """Return the sum over all fronts of a slot's cell."""
        return sum(self.slot(front, slot, cell) for front in range(self.fronts))

    def set_app(self, front: int, app: int, cell: int, value: int) -> None:
        _U64.pack_into(self._memory, self._column * front + self._apps_at + 16 * app + 8 * cell, value)

    def app_total(self, app: int, cell: int) -> int:
        at = self._apps_at + 16 * app + 8 * cell
        return sum(int(_U64.unpack_from(self._memory, self._column * f + at)[0]) for f in range(self.fronts))

    def clear_slot(self, slot: int) -> None:
        """The master, before a slot gets a new worker."""
        for front in range(self.fronts):
            self.set_slot(front, slot, IN_FLIGHT, 0)
            self.set_slot(front, slot, SERVED, 0)
            self.set_slot(front, slot, SOCKETS, 0)

    def clear_front(self, front: int) -> None:
        """The master, after a front died: what it had in flight is nobody's any more."""
        self.set_front(front, CONNECTIONS, 0)
        for slot in range(self.slots):
            self.set_slot(front, slot, IN_FLIGHT, 0)
            self.set_slot(front, slot, SOCKETS, 0)
        for app in range(self._apps):
            self.set_app(front, app, QUEUED, 0)
