"""Bytes that wait for a slow client or for a worker: in memory first, then in an unlinked temporary file (D16).

I/O: ``pread``/``pwrite`` on a file without a name, in the page cache as a rule. Order is kept: once a byte is in the
file, later ones follow it there until all were taken.
"""

from __future__ import annotations

import os
from collections import deque

MEMORY_BYTES = 64 * 1024


class Spool:
    """A queue of bytes. ``append`` at one end, ``take`` (memory) and ``take_file`` (file) at the other.

    ``close`` when done.
    """

    __slots__ = ("_directory", "_fd", "_memory", "_memory_bytes", "_most_memory", "_read_at", "_write_at")

    def __init__(self, directory: str, memory_bytes: int = MEMORY_BYTES) -> None:
        self._directory = directory
        self._most_memory = memory_bytes
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._fd = -1
        self._read_at = 0
        self._write_at = 0

    def __len__(self) -> int:
        return self._memory_bytes + self._write_at - self._read_at

    @property
    def file_bytes(self) -> int:
        """Bytes on disk, taken or not."""
        return self._write_at

    def append(self, data: bytes) -> None:
        """Add bytes; raise ``OSError`` if the disk does not take them."""
        if self._read_at == self._write_at and self._memory_bytes + len(data) <= self._most_memory:
            self._memory.append(data)
            self._memory_bytes += len(data)
            return
        if self._fd < 0:
            self._fd = _unlinked_file(self._directory)
        at = self._write_at
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            at += written
            view = view[written:]
        self._write_at = at

    def take(self, count: int) -> bytes:
        """Remove and return up to ``count`` bytes, from memory or file; b"" = nothing there."""
        if self._memory:
            data = self._memory.popleft()
            if len(data) > count:
                self._memory.appendleft(data[count:])
                data = data[:count]
            self._memory_bytes -= len(data)
            return data
        count = min(count, self._write_at - self._read_at)
        if not count:
            return b""
        data = os.pread(self._fd, count, self._read_at)
        self._read_at += len(data)
        return data

    def take_memory(self) -> bytes:
        """Remove and return all that is in memory."""
        data = b"".join(self._memory)
        self._memory.clear()
        self._memory_bytes = 0
        return data

    def take_file(self, most: int) -> tuple[int, int, int] | None:
        """Remove up to ``most`` bytes of the file; return ``(fd, offset, count)`` of them, None = nothing there.

        Call it only when nothing is in memory; the bytes stay readable until ``close``.
        """
        count = min(most, self._write_at - self._read_at)
        if not count:
            return None
        offset = self._read_at
        self._read_at += count
        return self._fd, offset, count

    def rewind(self) -> None:
        """Everything was taken and is used no more: give the disk back."""
        if self._write_at and self._read_at == self._write_at:
            os.ftruncate(self._fd, 0)
            self._read_at = self._write_at = 0

    def close(self) -> None:
        self._memory.clear()
        self._memory_bytes = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._read_at = self._write_at = 0


def _unlinked_file(directory: str) -> int:
    # Imported by the first spool that needs a file: every start of a front would pay 6 ms for it.
    import tempfile

    flag = getattr(os, "O_TMPFILE", 0)
    if flag:
        try:
            return os.open(directory or tempfile.gettempdir(), flag | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # not every file system can; the ordinary way says what is wrong
    fd, name = tempfile.mkstemp(prefix="pyserve-", dir=directory or None)
    os.unlink(name)
    return fd
