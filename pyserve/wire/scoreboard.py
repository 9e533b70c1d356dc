"""The scoreboard: one shared page per worker, written by the worker, read by fronts and master (D10).

Pure: works on any writable buffer. It tells after a death which requests had started: the requests of a channel start
in the order of their stream numbers, so one number per front says it exactly. It also holds a heartbeat and, for each
thread, what that thread runs. The reader trusts it only about this worker's own streams.

Layout, little-endian: heartbeat u64 (monotonic ns) · unused u64 · last started stream u32 * MAX_FRONTS · per thread:
stream u32, front u32, thread ident u64, started u64 (monotonic ns; 0 = idle) · at the end of the page: time spent on
requests u64 (ns, all threads) and how many they were u64. Behind the page, in the same shared memory, stands the text
that ``faulthandler`` writes.
"""

from __future__ import annotations

import struct

MAX_FRONTS = 64
MAX_THREADS = 128
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_THREAD = struct.Struct("<IIQQ")
_LAST_STARTED_AT = 16
_WORK = struct.Struct("<QQ")
_THREADS_AT = _LAST_STARTED_AT + 4 * MAX_FRONTS  # 272
PAGE_BYTES = 4096
_WORK_AT = PAGE_BYTES - _WORK.size  # 4080
MAX_STACK_BYTES = 64 * 1024
"""So much of the text behind the page is read."""
STACK_SIGNAL = 63
"""At this signal a worker writes the stacks of its threads there, whatever it is doing. A real-time one that hardly
anybody uses (SIGRTMAX - 1 on Linux), because it is taken from the application."""
assert _THREADS_AT + MAX_THREADS * _THREAD.size <= _WORK_AT


class Scoreboard:
    """``page``: a writable memoryview or mmap of ``PAGE_BYTES``."""

    __slots__ = ("page",)

    def __init__(self, page: memoryview) -> None:
        self.page = page

    def beat(self, now_ns: int) -> None:
        _U64.pack_into(self.page, 0, now_ns)

    def worked(self, busy_ns: int, requests: int) -> None:
        """Say how much time all requests so far took, and how many they were. WSGI only; once per batch."""
        _WORK.pack_into(self.page, 4080, busy_ns, requests)

    def work(self) -> tuple[int, int]:
        """Return ``(busy ns, requests)`` as last said; the mean over an interval is the application's service time."""
        busy_ns, requests = _WORK.unpack_from(self.page, 4080)
        return busy_ns, requests

    def heartbeat_ns(self) -> int:
        return int(_U64.unpack_from(self.page, 0)[0])

    def start(self, front: int, stream: int) -> None:
        """Mark that this stream's application call begins now, and with it all older ones of that front."""
        _U32.pack_into(self.page, 16 + 4 * front, stream)

    def started_cells(self) -> memoryview:
        """Return the last started streams as u32 cells by front: setting one is ``start`` at a third of its price.

        Native order, which is little-endian on every platform that we run on.
        """
        return self.page[16 : 16 + 4 * MAX_FRONTS].cast("I")

    def last_started(self, front: int) -> int:
        return int(_U32.unpack_from(self.page, 16 + 4 * front)[0])

    def occupy(self, thread: int, front: int, stream: int, ident: int, now_ns: int) -> None:
        """Mark what a thread (numbered from 0) runs."""
        _THREAD.pack_into(self.page, 272 + 24 * thread, stream, front, ident, now_ns)

    def free(self, thread: int) -> None:
        _U64.pack_into(self.page, 272 + 24 * thread + 16, 0)

    def running(self, thread: int) -> tuple[int, int, int, int] | None:
        """Return ``(stream, front, thread ident, started ns)`` or None if that thread is idle."""
        stream, front, ident, started_ns = _THREAD.unpack_from(self.page, 272 + 24 * thread)
        return (stream, front, ident, started_ns) if started_ns else None
