"""Step 6 of the request path: what an encrypted connection sends of files, and what waits behind it.

I/O: reads from the file's descriptor into one buffer of this module; a thread waits where a disk would. The same words
as ``FileOutput``, which is for clear text: here every byte passes through the TLS library, because Python's ``ssl``
can't give its keys to the kernel (kTLS), so ``sendfile`` is of no use. Invariants as there: everything goes out in the
order in which it was given; no more of a file is in memory than the client's socket is about to take.

HOT: benchmarks/tls_large.py.
"""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, cast

from pyserve.files.disks import was_local
from pyserve.files.reading import read_now
from pyserve.front.tls.transport import TlsTransport
from pyserve.net.sendfile import read_into_memory

if TYPE_CHECKING:
    from pyserve.front.h1.connection import Connection

PIECE_BYTES = 128 * 1024
"""Read, encrypted and written at once: it stays in the processor's cache meanwhile."""
WAITING_BYTES = 256 * 1024
"""Encrypted and not taken by the kernel yet: then the file waits."""
AT_ONCE_BYTES = 64 * 1024
TURN_BYTES = 2 * 1024 * 1024
"""Of all connections together in a turn of the loop: about 2 ms of encrypting."""
LOAD_BYTES = 2 * 1024 * 1024

_buffer = memoryview(bytearray(PIECE_BYTES))
"""SAFETY: what is read into it is encrypted before anybody else can have a turn."""

Piece = tuple[int, int, int]  # fd, offset, count


class TlsFiles:
    """``is_pending``: something waits here, so whatever else is written must wait behind it (``append``)."""

    __slots__ = ("_connection", "_is_closed", "_is_due", "_is_loading", "_loaded", "_queue", "_transport", "is_pending")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transport = cast(TlsTransport, connection.transport)
        self._queue: deque[bytes | Piece] = deque()
        self._is_due = False  # goes on in the next turn
        self._is_loading = False  # a thread reads from the disk what is to be sent next
        self._is_closed = False
        self._loaded = (-1, 0)  # a descriptor, and up to where what it is read from now is in the kernel's memory
        self.is_pending = False

    def append(self, data: bytes) -> None:
        """Send bytes behind everything that waits here."""
        self._queue.append(data)

    def send(self, before: bytes, fd: int, offset: int, count: int, after: bytes) -> None:
        """Send ``before``, a piece of a file and ``after``; what the client doesn't take now follows by itself."""
        queue = self._queue
        if before:
            queue.append(before)
        queue.append((fd, offset, count))
        if after:
            queue.append(after)
        if not self.is_pending:
            self.is_pending = True
            self._connection.context.sending += 1
            self._transport.set_write_buffer_limits(WAITING_BYTES, WAITING_BYTES // 2)
            self._pump()

    def send_at_once(self, head: bytes, fd: int, offset: int, count: int) -> int | None:
        """Try a head and a whole small file while nothing else is under way. Returns None if nothing was sent, else how
        many bytes of the file were: all."""
        if self.is_pending or count > AT_ONCE_BYTES or self._transport.get_write_buffer_size():
            return None
        view = _buffer[:count]
        if read_now(fd, view, offset) != count:
            return None
        self._transport.write(head + view)
        return count

    def transport_is_empty(self) -> None:
        """The transport takes bytes again."""
        if self.is_pending:
            self._pump()

    def _pump(self) -> None:
        self._is_due = False
        connection, transport = self._connection, self._transport
        if self._is_closed or self._is_loading or not self.is_pending or transport.is_closing():
            return
        try:
            is_done = self._send_queue()
        except OSError:
            connection.abort()
            return
        if not is_done:
            if not (self._is_loading or self._is_due or transport.get_write_buffer_size() > WAITING_BYTES):
                self._is_due = True
                connection.context.loop.call_soon(self._pump)
            return
        self.is_pending = False
        self._loaded = (-1, 0)  # the descriptor may be another file's the next time
        connection.context.sending -= 1
        connection.restore_write_limits()
        if connection.exchange is not None:
            connection.exchange.files_sent()

    def _send_queue(self) -> bool:
        """Send until enough waits for the client, or this turn's share is used up; return whether all has gone."""
        connection, transport, queue = self._connection, self._transport, self._queue
        share = max(PIECE_BYTES, TURN_BYTES // connection.context.sending)
        while queue:
            if share <= 0 or transport.get_write_buffer_size() > WAITING_BYTES:
                return False
            output = queue[0]
            if isinstance(output, bytes):
                transport.write(output)
                connection.written += len(output)
                queue.popleft()
                continue
            fd, offset, count = output
            view = _buffer[: min(count, PIECE_BYTES)]
            got = self._read(fd, view, offset, count)
            if got is None:
                return False
            if not got:
                raise OSError("the file has shrunk: the promised length can't be kept")
            transport.flush()
            transport.write_now(view[:got])
            connection.written += got
            share -= got
            if connection.exchange is not None:
                connection.exchange.sent_bytes += got
            if transport.is_closing():
                raise OSError("lost")
            if got < count:
                queue[0] = (fd, offset + got, count - got)
            else:
                queue.popleft()
        return True

    def _read(self, fd: int, view: memoryview, offset: int, count: int) -> int | None:
        """Return how much was read; None: a thread has begun to see to it (D5)."""
        if self._loaded[0] == fd and self._loaded[1] > offset:
            return os.preadv(fd, (view[: self._loaded[1] - offset],), offset)
        got = read_now(fd, view, offset)
        if got is not None:
            return got
        lanes = self._connection.context.lanes
        lane = lanes.disk if was_local(fd) else lanes.network
        self._is_loading = True
        count = min(count, LOAD_BYTES)

        def done(result: None, error: BaseException | None) -> None:
            self._is_loading = False
            # What can't be read fails where it is sent; what is not there by now was pushed out, and waits there.
            self._loaded = (fd, offset + count)
            if not self._is_closed:
                self._pump()

        lane.run(partial(read_into_memory, fd, offset, count), done)
        return None

    def close(self) -> None:
        self._is_closed = True
        if self.is_pending:
            self.is_pending = False
            self._connection.context.sending -= 1
        self._queue.clear()
