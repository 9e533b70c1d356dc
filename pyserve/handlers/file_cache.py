"""Files made ready to be sent: head, and body or open descriptor.

I/O: reads files and closes descriptors, through what ``open_file`` opened. The invariants: count, bytes and descriptors
are bounded; a descriptor is closed exactly once, and never while an exchange still sends from it; an entry is what the
file was at one moment, its validators and its bytes together. Who may see which file is not decided here.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from pyserve.http.conditional import format_date

SMALL_BYTES = 64 * 1024
"""Up to this size the body is kept in memory and goes out with its head in one write."""
MAX_OPEN = 128
"""Descriptors of larger files that are kept open, where the process may have enough."""
_ENTRY_BYTES = 1024  # what an entry costs beside its body, roughly
_SETTLED_NS = 2_000_000_000  # a file changed twice within a clock tick may look the same; older than this it can't
_READ_ATTEMPTS = 3

Key = tuple[int, str]
Signature = tuple[int, int, int, int, int]


def signature_of(status: os.stat_result) -> Signature:
    """What differs whenever a file's content was replaced or written."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class FileEntry:
    """One file, ready. Slots and plain attributes: it is read once per request on the hot path."""

    __slots__ = (
        "block",
        "body",
        "etag",
        "fd",
        "fresh_until_s",
        "is_evicted",
        "is_hot",
        "is_quick",
        "is_settled",
        "key",
        "mtime_s",
        "path",
        "signature",
        "size",
        "unchanged_block",
        "users",
    )

    block: bytes
    """Header lines of a 200."""
    unchanged_block: bytes
    """Header lines of a 304 and a 416: no word about content."""
    body: bytes | None
    """None = not small: send from ``fd``."""
    fd: int
    """-1 = closed or never kept."""
    path: bytes
    """Where one ``stat`` (links followed) tells whether it is still the same file."""
    is_quick: bool
    """That one ``stat`` is enough; False where another file may have come before this one in ``try`` or ``index``."""
    is_settled: bool
    fresh_until_s: float
    """Monotonic; after that it is looked at again."""

    def __init__(self, key: Key, path: bytes, *, is_quick: bool) -> None:
        self.key = key
        self.path = path
        self.is_quick = is_quick
        self.fd = -1
        self.users = 0
        self.is_hot = False
        self.is_evicted = False
        self.fresh_until_s = 0.0

    def load(self, fd: int, content_type: str, cache: str, wall_ns: int) -> None:
        """Fill the entry from an open regular file; takes ``fd`` over (closes it if the body is small, or on error)."""
        try:
            status = os.fstat(fd)
            self.body = None
            if status.st_size <= SMALL_BYTES:
                status, self.body = _read_small(fd, status)
        except BaseException:
            os.close(fd)
            raise
        if self.body is None:
            self.fd = fd
        else:
            os.close(fd)
        self.signature = signature_of(status)
        self.size = status.st_size if self.body is None else len(self.body)
        self.mtime_s = max(status.st_mtime_ns // 1_000_000_000, 0)
        self.etag = b'"%x-%x"' % (max(status.st_mtime_ns, 0), self.size)
        self.is_settled = wall_ns - status.st_mtime_ns > _SETTLED_NS
        age = b"cache-control: %b\r\n" % cache.encode() if cache else b""
        self.unchanged_block = b"etag: %b\r\nlast-modified: %b\r\naccept-ranges: bytes\r\n%b" % (
            self.etag,
            format_date(self.mtime_s),
            age,
        )
        self.block = b"content-type: %b\r\n%b" % (content_type.encode("ascii"), self.unchanged_block)

    def retain(self) -> None:
        self.users += 1

    def release(self) -> None:
        """One exchange less sends from the descriptor."""
        self.users -= 1
        if self.is_evicted and not self.users:
            self.close()

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def _read_small(fd: int, status: os.stat_result) -> tuple[os.stat_result, bytes]:
    """Return a body and the status that it belongs to, as long as nobody writes without pause."""
    for _ in range(_READ_ATTEMPTS):
        body = _read(fd, status.st_size)
        after = os.fstat(fd)
        if signature_of(after) == signature_of(status) and len(body) == status.st_size:
            break
        status = after
        if status.st_size > SMALL_BYTES:
            break
    return status, body


def _read(fd: int, count: int) -> bytes:
    body = b""
    while len(body) < count and (data := os.pread(fd, count - len(body), len(body))):
        body += data
    return body


class FileCache:
    """The entries of all ``files`` handlers of a front; the one asked for least recently (second chance) goes first."""

    def __init__(
        self, max_entries: int = 8192, max_bytes: int = 64 * 1024 * 1024, max_open: int = MAX_OPEN, idle_s: float = 10.0
    ) -> None:
        self.entries: OrderedDict[Key, FileEntry] = OrderedDict()
        self._with_fd: OrderedDict[Key, FileEntry] = OrderedDict()
        self._bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.max_open = max_open
        self._idle_s = idle_s

    def put(self, entry: FileEntry) -> None:
        """Keep an entry, in place of the one with its key if there is one."""
        self.remove(entry.key)
        # Room is made before, so that the newest one is there whatever the bounds: it is about to be sent.
        cost = _cost(entry)
        while self.entries and (len(self.entries) >= self._max_entries or self._bytes + cost > self._max_bytes):
            self._remove_coldest(self.entries)
        if entry.fd >= 0:
            while self._with_fd and len(self._with_fd) >= self.max_open:
                self._remove_coldest(self._with_fd)
            self._with_fd[entry.key] = entry
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

    def close_idle(self, now_s: float) -> None:
        """Let go of descriptors not asked for lately: a deleted file's space is free only when nobody holds it.

        Called by the front's sweep; costs nothing worth naming (at most ``max_open`` entries are looked at).
        """
        for entry in [entry for entry in self._with_fd.values() if entry.fresh_until_s < now_s - self._idle_s]:
            self.remove(entry.key)

    def close_unused(self) -> bool:
        """The process is short of descriptors: give back all that nobody sends from; False if there were none."""
        unused = [entry for entry in self._with_fd.values() if not entry.users]
        for entry in unused:
            self.remove(entry.key)
        return bool(unused)

    def clear(self) -> None:
        for key in list(self.entries):
            self.remove(key)

    def _remove_coldest(self, order: OrderedDict[Key, FileEntry]) -> None:
        while True:
            key, entry = next(iter(order.items()))
            if not entry.is_hot:
                self.remove(key)
                return
            entry.is_hot = False
            order.move_to_end(key)


def _cost(entry: FileEntry) -> int:
    return _ENTRY_BYTES + len(entry.block) + len(entry.body or b"")
