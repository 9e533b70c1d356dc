"""The files that a front has ready: how many, which ones, and how long.

I/O: closes descriptors. The invariants: count, bytes and descriptors are bounded. Who may see which file is not decided
here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from pyserve.files.entry import FileEntry, Key

MAX_OPEN = 128
"""Descriptors of larger files that are kept open, where the process may have enough."""
_ENTRY_BYTES = 1024  # what an entry costs beside its body, roughly
LOOK_UP_S = 30.0
"""A disk that has not answered for so long is taken for dead."""


class Figures(NamedTuple):
    """What ``status`` tells of a cache. Counts are since the start."""

    entries: int
    bytes: int
    open: int
    """Descriptors held."""
    hits: int
    """Looked up and believed at once."""
    checks: int
    """Believed after another look at the file."""
    loads: int
    """Opened."""
    evictions: int
    waits: int
    """Of all those looks, how many a helper thread took."""


T = TypeVar("T")


class LookUp(Generic[T]):
    """Exchanges that wait for the same look at a disk. Each is told once, by ``found`` or by ``failed``."""

    __slots__ = ("is_overdue", "since_s", "waiting")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.is_overdue = False
        self.waiting: list[tuple[Callable[[T], None], Callable[[BaseException], None]]] = []

    def found(self, what: T) -> None:
        waiting, self.waiting = self.waiting, []
        for found, failed in waiting:
            try:
                found(what)
            except Exception as error:
                failed(error)  # our own bug: it is this one's, and the others are answered all the same

    def failed(self, error: BaseException) -> None:
        waiting, self.waiting = self.waiting, []
        for _, failed in waiting:
            failed(error)


class FileCache:
    """The entries of all ``files`` handlers of a front; the one asked for least recently (second chance) goes first."""

    def __init__(
        self,
        max_entries: int = 32768,
        max_bytes: int = 64 * 1024 * 1024,
        max_open: int = MAX_OPEN,
        idle_s: float = 10.0,
    ) -> None:
        self.entries: OrderedDict[Key, FileEntry] = OrderedDict()
        self.look_ups: dict[Key, LookUp[Any]] = {}
        self.hits = self.checks = self.loads = self.waits = 0
        self._evictions = 0
        self._with_fd: OrderedDict[Key, FileEntry] = OrderedDict()
        self._bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.max_open = max_open
        self._idle_s = idle_s

    def put(self, entry: FileEntry) -> None:
        """Keep an entry, in place of the one with its key if there is one."""
        self.remove(entry.key)
        entry.is_evicted = False  # one that was, and holds still, may come back
        # Room is made before, so that the newest one is there whatever the bounds: it is about to be sent.
        cost = _cost(entry)
        while self.entries and (len(self.entries) >= self._max_entries or self._bytes + cost > self._max_bytes):
            self._remove_coldest(self.entries)
        if entry.fd >= 0:
            while self._with_fd and len(self._with_fd) >= self.max_open:
                self._remove_coldest(self._with_fd)
            self._with_fd[entry.key] = entry
        self.loads += 1
        self.entries[entry.key] = entry
        self._bytes += cost

    def remove(self, key: Key) -> None:
        """Forget an entry; its descriptor is closed as soon as nobody sends from it."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return
        self._with_fd.pop(key, None)
        self._bytes -= _cost(entry)
        entry.is_evicted = True
        if not entry.users:
            entry.close()

    def sweep(self, now_s: float) -> None:
        """Let go of descriptors not asked for lately: a deleted file's space is free only when nobody holds it. Tell
        who waits for a dead disk that it is one.

        Called by the front every second; costs nothing worth naming (at most ``max_open`` entries are looked at).
        """
        for look_up in [look_up for look_up in self.look_ups.values() if look_up.since_s < now_s - LOOK_UP_S]:
            look_up.is_overdue = True
            look_up.failed(TimeoutError(f"the disk gave no answer within {LOOK_UP_S:g} s"))
        for entry in [entry for entry in self._with_fd.values() if entry.fresh_until_s < now_s - self._idle_s]:
            self.remove(entry.key)

    def close_unused(self) -> bool:
        """The process is short of descriptors: give back all that nobody sends from; False if there were none."""
        unused = [entry for entry in self._with_fd.values() if not entry.users]
        for entry in unused:
            self.remove(entry.key)
        return bool(unused)

    def figures(self) -> Figures:
        return Figures(
            len(self.entries),
            self._bytes,
            len(self._with_fd),
            self.hits,
            self.checks,
            self.loads,
            self._evictions,
            self.waits,
        )

    def clear(self) -> None:
        for key in list(self.entries):
            self.remove(key)

    def _remove_coldest(self, order: OrderedDict[Key, FileEntry]) -> None:
        while True:
            key, entry = next(iter(order.items()))
            if not entry.is_hot:
                self.remove(key)
                self._evictions += 1
                return
            entry.is_hot = False
            order.move_to_end(key)


def _cost(entry: FileEntry) -> int:
    return _ENTRY_BYTES + len(entry.block) + len(entry.body or b"")
