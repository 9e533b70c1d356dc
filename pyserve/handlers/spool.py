"""Bytes that wait for a slow client or for a worker: in memory first, then in an unlinked temporary file (D16).

I/O: ``pread``/``pwrite`` on a file without a name, in the page cache as a rule. Order is kept: once a byte is in the
file, later ones follow it there until all were taken. Files that an application handed over wait here too, in their
place among the bytes; each is closed once, however its answer ends.
"""

from __future__ import annotations

import os
import stat
from collections import deque

from pyserve.wire.frames import WireError

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


class AnswerSpool(Spool):
    """What of an answer waits for a slow client: bytes (all of them on disk) and files of its application."""

    __slots__ = ("_arrived", "_files", "_given")

    def __init__(self, directory: str) -> None:
        # Nothing in memory: the connection has its share there already, and slow clients are many.
        super().__init__(directory, 0)
        self._arrived: deque[int] = deque()  # descriptors whose frame has not come
        self._files: deque[tuple[int, int, int, int]] = deque()  # bytes of ours before it, descriptor, offset, count
        self._given: list[int] = []  # what `take_file` returned and may still be read

    def __len__(self) -> int:
        """Bytes of ours and files: 0 = nothing waits."""
        return self._write_at - self._read_at + len(self._files)

    @property
    def descriptors(self) -> int:
        """Descriptors of the application that are here."""
        return len(self._arrived) + len(self._files) + len(self._given)

    @property
    def has_arrived(self) -> bool:
        """Is there a descriptor for ``append_file``?"""
        return bool(self._arrived)

    def arrive(self, fd: int) -> None:
        """Take a descriptor over; -1 = it was lost on its way, because this process has too many."""
        self._arrived.append(fd)

    def append_file(self, offset: int, count: int) -> str:
        """Add bytes of the file that arrived first; return what is wrong with it, "" = nothing.

        Raises ``WireError`` for what is no regular file: a front would wait for a pipe.
        """
        fd = self._arrived.popleft()
        if fd < 0:
            return "too many open files"
        self._files.append((self._write_at, fd, offset, count))
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise WireError("a descriptor that is no regular file")
        return "" if offset + count <= status.st_size else "it has become shorter"

    def take_file(self, most: int) -> tuple[int, int, int] | None:
        """The same for what comes next; a file of the application is taken whole."""
        if self._files:
            before, fd, offset, count = self._files[0]
            if before == self._read_at:
                self._files.popleft()
                self._given.append(fd)
                return fd, offset, count
            most = min(most, before - self._read_at)
        return super().take_file(most)

    def close_given(self) -> int:
        """The client has taken all that was taken from here: close its files, return how many they were."""
        given, self._given = self._given, []
        for fd in given:
            os.close(fd)
        return len(given)

    def rewind(self) -> None:
        if not self._files:
            super().rewind()

    def close(self) -> None:
        self.close_given()
        while self._files:
            os.close(self._files.popleft()[1])
        while self._arrived:
            if (fd := self._arrived.popleft()) >= 0:
                os.close(fd)
        super().close()


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
