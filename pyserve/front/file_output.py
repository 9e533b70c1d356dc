"""Step 6 of the request path: what a connection sends by ``sendfile``, and what waits behind it.

I/O: a ``FileSender`` on the connection's socket, watched for room only while something waits. Made by a connection
when it sends its first file. Invariants: bytes and pieces of files go out in the order they were given; nothing is sent
while the transport still holds bytes of its own; all files of a front together get ``TURN_BYTES`` per loop turn, so
neither a fast client nor many of them own the loop.

HOT: benchmarks/files_large.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pyserve.net.sendfile import FileSender

if TYPE_CHECKING:
    from pyserve.front.connection import Connection

TURN_BYTES = 8 * 1024 * 1024
"""About 5 ms of copying. D5 said 1 MiB per connection and turn, which left 50 fast clients 50 MiB, and one of them with
a turn of the loop for every MiB."""
LEAST_PIECE_BYTES = 128 * 1024
MOST_PIECE_BYTES = 2 * 1024 * 1024

Piece = tuple[int, int, int]  # fd, offset, count


class FileOutput:
    """``is_pending``: something waits here, so whatever else is written must wait behind it (``append``)."""

    __slots__ = ("_connection", "_is_waiting", "_is_watching", "_queue", "_sender", "is_pending")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sender = FileSender(connection.transport.get_extra_info("socket").fileno())
        self._queue: deque[bytes | Piece] = deque()
        self._is_watching = False  # for room on the duplicate
        self._is_waiting = False  # for the transport to be empty
        self.is_pending = False

    def append(self, data: bytes) -> None:
        """Send bytes behind everything that waits here."""
        self._queue.append(data)

    def send(self, before: bytes, fd: int, offset: int, count: int, after: bytes) -> None:
        """Send ``before``, a piece of a file and ``after``; what the kernel doesn't take now follows by itself."""
        queue = self._queue
        if before:
            queue.append(before)
        queue.append((fd, offset, count))
        if after:
            queue.append(after)
        if not self.is_pending:
            self.is_pending = True
            self._connection.context.sending += 1
            self._pump()

    def send_at_once(self, head: bytes, fd: int, offset: int, count: int) -> int | None:
        """Try a head and a whole file while nothing else is under way.

        Returns None if nothing was sent at all, else how many bytes of the file were: what is missing is the caller's
        to ``send``. Raises ``OSError`` if the connection is lost, or could not take the whole head.
        """
        if self.is_pending or self._connection.transport.get_write_buffer_size() or count > MOST_PIECE_BYTES:
            return None
        sent = self._sender.send_bytes(head, True)
        if sent != len(head):
            if sent:
                raise OSError("no room for a head")
            return None
        return self._sender.send_file(fd, offset, count) or 0

    def transport_is_empty(self) -> None:
        """The transport has written what it held."""
        if self._is_waiting:
            self._pump()

    def _pump(self) -> None:
        connection = self._connection
        transport = connection.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size():
            # sendfile would overtake what the transport still holds: be told when that is empty.
            self._is_waiting = True
            transport.set_write_buffer_limits(0)
            return
        try:
            is_done = self._send_queue()
        except OSError:
            connection.abort()
            return
        if not is_done:
            if not self._is_watching:
                self._is_watching = True
                connection.context.loop.add_writer(self._sender.fd, self._pump)
            return
        if self._is_watching:
            self._is_watching = False
            connection.context.loop.remove_writer(self._sender.fd)
        if self._is_waiting:
            self._is_waiting = False
            connection.restore_write_limits()
        self.is_pending = False
        connection.context.sending -= 1
        if connection.exchange is not None:
            connection.exchange.files_sent()

    def _send_queue(self) -> bool:
        """Send until the kernel has no room, or this turn's share is used up; return whether everything has gone."""
        connection = self._connection
        sender = self._sender
        queue = self._queue
        share = min(MOST_PIECE_BYTES, max(LEAST_PIECE_BYTES, TURN_BYTES // connection.context.sending))
        while queue:
            if share <= 0:
                return False
            output = queue[0]
            if isinstance(output, bytes):
                sent: int | None = sender.send_bytes(output, len(queue) > 1)
                assert sent is not None
                connection.written += sent
                if sent < len(output):
                    queue[0] = output[sent:]
                    return False
            else:
                fd, offset, count = output
                sent = sender.send_file(fd, offset, min(count, share))
                if sent is None:
                    return False
                if sent == 0:
                    raise OSError("the file has shrunk: the promised length can't be kept")
                connection.written += sent
                share -= sent
                if connection.exchange is not None:
                    connection.exchange.sent_bytes += sent
                if sent < count:
                    queue[0] = (fd, offset + sent, count - sent)
                    continue
            queue.popleft()
        return share > 0

    def close(self) -> None:
        if self.is_pending:
            self.is_pending = False
            self._connection.context.sending -= 1
        self._queue.clear()
        if self._is_watching:
            self._is_watching = False
            self._connection.context.loop.remove_writer(self._sender.fd)
        self._sender.close()
