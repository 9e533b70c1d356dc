"""Where the lines of the access log go: one ``write`` per loop turn for all lines of that turn (D6).

I/O. A regular file (or a device) is written from the loop; a pipe, terminal or socket may block, so it gets a thread
behind a bounded ring. Lines that can't be written are dropped and counted; no request ever waits for a log.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

RING_LINES = 64 * 1024


class SoonCaller(Protocol):
    def call_soon(self, callback: Callable[[], object]) -> object: ...


class LineSink:
    """``write`` lines (with their newline) on the loop's thread. Owns the descriptor unless it is a standard one."""

    def __init__(self, loop: SoonCaller, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._lines: list[bytes] = []
        self._thread: _WriterThread | None = None
        self.dropped = 0
        self._open(fd)

    def _open(self, fd: int) -> None:
        self._fd = fd
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or self._is_null(fd)):
            self._thread = _WriterThread(fd)

    @staticmethod
    def _is_null(fd: int) -> bool:
        try:
            return os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev != 0
        except OSError:
            return False

    def write(self, line: bytes) -> None:
        lines = self._lines
        if not lines:
            self._loop.call_soon(self.flush)
        lines.append(line)

    def flush(self) -> None:
        lines = self._lines
        if not lines:
            return
        self._lines = []
        if self._thread is not None:
            self.dropped += self._thread.put(lines)
            return
        data = b"".join(lines)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            self.dropped += len(lines)

    def reopen(self, fd: int) -> None:
        """Write to another descriptor from now on; lines already taken go to the old one."""
        self.flush()
        self._close()
        self._open(fd)

    def close(self) -> None:
        self.flush()
        self._close()

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.close()
            self._thread = None
        elif self._fd > 2:
            os.close(self._fd)


class _WriterThread:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ring: deque[bytes] = deque()
        self._wake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, lines: list[bytes]) -> int:
        """Take lines; return how many found no room."""
        room = RING_LINES - len(self._ring)
        self._ring.extend(lines[:room] if room < len(lines) else lines)
        self._wake.set()
        return max(0, len(lines) - room)

    def close(self) -> None:
        # A sink that hangs must not hold up an exit: the thread is a daemon and gets a moment for what is left.
        self._is_closing = True
        self._wake.set()
        self._thread.join(0.5)

    def _run(self) -> None:
        ring = self._ring
        while True:
            self._wake.wait()
            self._wake.clear()
            while ring:
                batch = [ring.popleft() for _ in range(min(len(ring), 1024))]
                data = b"".join(batch)
                try:
                    while data:
                        data = data[os.write(self._fd, data) :]
                except OSError:
                    continue
            if self._is_closing:
                break
        if self._fd > 2:
            os.close(self._fd)
