"""Step 6 of the request path: the pieces of one answer's body on their way through an encoder, in order.

I/O: ``pread`` of pieces that are in files, in a helper thread, where the encoder works too: one job at a time, of about
``JOB_BYTES``, so that long answers take turns. Invariants: whatever was given is decodable by the client once nothing
more waits; no job begins while the transport takes nothing.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING

from pyserve.handlers.interface import Exchange, Threads
from pyserve.http.codings import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable

JOB_BYTES = 64 * 1024
WAITING_BYTES = 128 * 1024
"""Beyond, no more is taken: enough for one job under way and one behind it, and slow clients are many."""


class CodedStream:
    """``append``, ``append_file`` and ``end`` at one end; ``exchange`` gets coded data, and ``finish`` behind it.

    ``on_room`` is called when it takes pieces again, ``on_rest`` when no job is under way any more.
    """

    __slots__ = (
        "_coding",
        "_encoder",
        "_exchange",
        "_files",
        "_is_last",
        "_on_rest",
        "_on_room",
        "_pieces",
        "_threads",
        "_waiting",
        "is_running",
    )

    def __init__(
        self,
        coding: bytes,
        exchange: Exchange,
        threads: Threads,
        on_room: Callable[[], None],
        on_rest: Callable[[], None],
    ) -> None:
        self._coding = coding
        self._exchange = exchange
        self._threads = threads
        self._on_room = on_room
        self._on_rest = on_rest
        self._encoder: Encoder | None = None
        # A thread takes from its left end while the loop appends: a deque bears that.
        self._pieces: deque[bytes | tuple[int, int, int]] = deque()
        self._waiting = 0
        self._files = 0
        self._is_last = False
        self.is_running = False
        """A helper thread is at work, perhaps reading from a file."""

    def append(self, data: bytes) -> None:
        self._waiting += len(data)
        self._pieces.append(data)
        self.go_on()

    def append_file(self, fd: int, offset: int, count: int) -> None:
        """Add a piece of a file, which must stay as it is and open until ``on_rest`` or until there is room again."""
        self._files += 1
        self._pieces.append((fd, offset, count))
        self.go_on()

    def end(self) -> None:
        """Nothing more comes."""
        self._is_last = True
        self.go_on()

    @property
    def has_room(self) -> bool:
        return self._waiting <= WAITING_BYTES and not self._files

    def go_on(self) -> None:
        """Begin a job, if there is something to do and the transport takes what comes out."""
        exchange = self._exchange
        if not self.is_running and (self._pieces or self._is_last) and exchange.is_writable and not exchange.over:
            self.is_running = True
            self._threads.run(self._work, self._worked)

    def _work(self) -> tuple[bytes, int, int, bool]:
        """In a helper thread: return coded bytes, how many bytes and files are done, and whether that was the end."""
        encoder = self._encoder
        if encoder is None:
            encoder = self._encoder = Encoder(self._coding)
        pieces = self._pieces
        coded = []
        taken = read = files = 0
        while pieces and taken + read < JOB_BYTES:
            piece = pieces.popleft()
            if isinstance(piece, tuple):
                fd, offset, count = piece
                piece = os.pread(fd, min(count, JOB_BYTES - taken - read), offset)
                read += len(piece)
                if not piece:
                    raise OSError(errno.EIO, "the file is shorter than it was")
                if len(piece) < count:
                    pieces.appendleft((fd, offset + len(piece), count - len(piece)))
                else:
                    files += 1
            else:
                taken += len(piece)
            coded.append(encoder.encode(piece, False))
        is_last = self._is_last  # looked at before the pieces: none is appended after it
        if pieces:
            is_last = False
        elif is_last:
            coded.append(encoder.finish())
        else:
            # Nothing more for now: what there is must reach the client.
            coded.append(encoder.encode(b"", True))
        return b"".join(coded), taken, files, is_last

    def _worked(self, result: tuple[bytes, int, int, bool] | None, error: BaseException | None) -> None:
        self.is_running = False
        exchange = self._exchange
        if result is None:
            self._pieces.clear()
            exchange.fail(500, f"the answer can't be compressed: {error!r}")
        elif not exchange.over:
            had_room = self.has_room
            coded, taken, files, is_end = result
            self._waiting -= taken
            self._files -= files
            exchange.send_data(coded)
            if is_end:
                self._is_last = False  # and so there is nothing to go on with
                exchange.finish()
            else:
                self.go_on()
                if not had_room and self.has_room and exchange.is_writable and not self._is_last:
                    self._on_room()
        if not self.is_running:
            self._on_rest()
