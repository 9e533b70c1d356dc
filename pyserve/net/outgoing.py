"""Step 6 of the request path: how much of what was written a client has not taken yet.

I/O: one ``ioctl``. What the kernel's send buffer holds has left us and has not arrived: with a megabyte of it, a client
that takes a byte a second looks like one that takes all.
"""

from __future__ import annotations

import fcntl
import struct
import termios

_INT = struct.Struct("i")


def unacknowledged_bytes(fd: int) -> int:
    """Return how many bytes the kernel holds for the other end (Linux: SIOCOUTQ, tcp(7)); 0 where it can't be told."""
    try:
        return int(_INT.unpack(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(_INT.size)))[0])
    except (OSError, ValueError):
        return 0
