"""Step 6 of the request path: a piece of a file as bytes, for transports that can't have it sent inside the kernel.

I/O: ``preadv2`` that waits for no disk, and ``pread`` that does, for threads.
"""

from __future__ import annotations

import errno
import os

from pyserve.files.disks import was_local

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)


def read_now(fd: int, offset: int, count: int) -> bytes | None:
    """Return up to ``count`` bytes if no disk has to be waited for, b"" at the end of the file, None = a thread has to
    read them.

    Where a disk does not tell (tmpfs, overlay), what is on this machine is taken to be in memory.
    """
    if _NO_WAIT:
        buffer = bytearray(count)
        try:
            got = os.preadv(fd, (buffer,), offset, _NO_WAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                return b""
        else:
            return bytes(buffer) if got == count else bytes(buffer[:got])
    if not was_local(fd):
        return None
    return read_whole(fd, offset, count)


def read_whole(fd: int, offset: int, count: int) -> bytes:
    """Return up to ``count`` bytes, less only where the file ends or can't be read; may wait for the disk."""
    pieces = []
    while count:
        try:
            piece = os.pread(fd, count, offset)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
    return b"".join(pieces)
