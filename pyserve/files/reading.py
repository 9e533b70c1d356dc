"""Step 6 of the request path: a piece of a file in memory of ours, for transports that can't have it sent inside the
kernel.

I/O: ``preadv2`` that waits for no disk, and ``pread`` that does, for threads.
"""

from __future__ import annotations

import os

from pyserve.files.disks import was_local

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)


def read_now(fd: int, view: memoryview | bytearray, offset: int) -> int | None:
    """Fill ``view`` as far as no disk has to be waited for; return how much, 0 at the end of the file, None = a thread
    has to read. Raises ``OSError``.

    Some kinds of disk don't tell (tmpfs, overlay): what is on this machine is then taken to be in memory.
    """
    if _NO_WAIT:
        try:
            return os.preadv(fd, (view,), offset, _NO_WAIT)
        except BlockingIOError:
            return None
        except OSError:
            pass
    return os.preadv(fd, (view,), offset) if was_local(fd) else None


def read_whole(fd: int, offset: int, count: int) -> bytes:
    """Return up to ``count`` bytes, less only where the file ends; may wait for the disk. Raises ``OSError``."""
    pieces = []
    while count:
        piece = os.pread(fd, count, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
    return b"".join(pieces)
