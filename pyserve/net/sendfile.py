"""Step 6 of the request path: a piece of a file goes from its descriptor to a socket inside the kernel.

I/O: ``sendfile(2)`` on a duplicate of the connection's socket, because event loops refuse to watch a descriptor that
a transport owns, and uvloop has no ``loop.sendfile``. The owner closes the duplicate before the transport.
"""

from __future__ import annotations

import os
import socket

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)
_MSG_MORE = getattr(socket, "MSG_MORE", 0)


class FileSender:
    """The duplicate of a connection's socket. All calls are non-blocking; ``OSError`` = the connection is lost."""

    __slots__ = ("_byte", "_send", "_socket", "fd")

    def __init__(self, fd: int) -> None:
        self._byte = bytearray(1)
        self._socket = socket.socket(fileno=os.dup(fd))
        self._send = self._socket.send
        self.fd = self._socket.fileno()

    def send_bytes(self, data: bytes, more: bool) -> int:
        """Send what the kernel takes now; return how much.

        ``more``: a file follows, so wait for it before making a packet.
        """
        try:
            return self._send(data, _MSG_MORE if more else 0)
        except (BlockingIOError, InterruptedError):
            return 0

    def send_file(self, fd: int, offset: int, count: int) -> int | None:
        """Send up to ``count`` bytes; return how many, None if there is no room now, 0 if the file ended early."""
        try:
            return os.sendfile(self.fd, fd, offset, count)
        except (BlockingIOError, InterruptedError):
            return None

    def is_in_memory(self, fd: int, at: int) -> bool | None:
        """Is this byte of a file in the kernel's memory, so that sending it waits for no disk? None = it can't tell."""
        if not _NO_WAIT:
            return None
        try:
            return os.preadv(fd, (self._byte,), at, _NO_WAIT) >= 0
        except BlockingIOError:
            return False
        except OSError:
            return None

    def close(self) -> None:
        self._socket.close()


def read_into_memory(fd: int, offset: int, count: int) -> None:
    """In a thread: wait for the disk, so that ``send_file`` need not. What is read is not looked at."""
    end = offset + count
    while offset < end:
        got = len(os.pread(fd, min(end - offset, 256 * 1024), offset))
        if not got:
            return
        offset += got
