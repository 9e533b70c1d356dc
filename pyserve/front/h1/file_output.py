"""Step 6 of the request path: what a connection sends by ``sendfile``, and what waits behind it.

I/O: a ``FileSender`` on the connection's socket, watched for room only while something waits. Made by a connection
when it sends its first file. Invariants: bytes and pieces of files go out in the order they were given; nothing is sent
while the transport still holds bytes of its own; all files of a front together get ``TURN_BYTES`` per loop turn, so
neither a fast client nor many of them own the loop.

HOT: benchmarks/files_large.py.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from pyserve.files.disks import was_local
from pyserve.net.sendfile import FileSender, read_into_memory

if TYPE_CHECKING:
    from pyserve.front.h1.connection import Connection

TURN_BYTES = 8 * 1024 * 1024
"""About 5 ms of copying. D5 said 1 MiB per connection and turn, which left 50 fast clients 50 MiB, and one of them with
a turn of the loop for every MiB."""
LEAST_PIECE_BYTES = 128 * 1024
MOST_PIECE_BYTES = 2 * 1024 * 1024

LOAD_BYTES = 2 * 1024 * 1024
"""So much is looked for in the kernel's memory at once, by its last byte: what is read in order is read ahead."""

Piece = tuple[int, int, int]  # fd, offset, count


class FileOutput:
    """``is_pending``: something waits here, so whatever else is written must wait behind it (``append``)."""

    __slots__ = (
        "_connection",
        "_is_closed",
        "_is_loading",
        "_is_waiting",
        "_is_watching",
        "_loaded",
        "_queue",
        "_sender",
        "is_pending",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sender = FileSender(connection.transport.get_extra_info("socket").fileno())
        self._queue: deque[bytes | Piece] = deque()
        self._is_watching = False  # for room on the duplicate
        self._is_waiting = False  # for the transport to be empty
        self._is_loading = False  # a thread reads from the disk what is to be sent next
        self._is_closed = False
        self._loaded = (-1, 0)  # a descriptor, and up to where what it is read from now is in the kernel's memory
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
        to ``send``, behind what may be missing of the head. Raises ``OSError`` if the connection is lost.
        """
        if (
            self.is_pending
            or self._connection.transport.get_write_buffer_size()
            or count > LOAD_BYTES
            or not self._is_in_memory(fd, offset + count - 1)
        ):
            return None
        sent = self._sender.send_bytes(head, True)
        if not sent:
            return None
        if sent < len(head):
            self._queue.append(head[sent:])
            return 0
        return self._sender.send_file(fd, offset, count) or 0

    def transport_is_empty(self) -> None:
        """The transport has written what it held."""
        if self._is_waiting:
            self._pump()

    def _pump(self) -> None:
        connection = self._connection
        transport = connection.transport
        if transport.is_closing() or self._is_loading:
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
        if self._is_loading:
            if self._is_watching:  # there may be room, but nothing to fill it with
                self._is_watching = False
                connection.context.loop.remove_writer(self._sender.fd)
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
        self._loaded = (-1, 0)  # the descriptor may be another file's the next time
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
                loaded = self._loaded
                ready = loaded[1] - offset if loaded[0] == fd else 0
                if ready <= 0:
                    ready = self._load(fd, offset, count)
                    if not ready:
                        return False
                asked = min(count, share, ready)
                sent = sender.send_file(fd, offset, asked)
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
                    if sent < asked:
                        return False  # no more room: asking for it again would only cost a call
                    continue
            queue.popleft()
        return share > 0

    def _load(self, fd: int, offset: int, count: int) -> int:
        """Return how many bytes from here on are in the kernel's memory; 0 = a thread has begun to see to it (D5)."""
        count = min(count, LOAD_BYTES)
        if self._is_in_memory(fd, offset + count - 1):
            self._loaded = (fd, offset + count)
            return count
        lanes = self._connection.context.lanes
        lane = lanes.disk if was_local(fd) else lanes.network
        self._is_loading = True

        def done(result: None, error: BaseException | None) -> None:
            self._is_loading = False
            # What can't be read fails where it is sent; what is not there by now was pushed out, and waits there.
            self._loaded = (fd, offset + count)
            if not self._is_closed:
                self._pump()

        lane.run(partial(read_into_memory, fd, offset, count), done)
        return 0

    def _is_in_memory(self, fd: int, at: int) -> bool:
        """Can this byte of a file be sent without waiting for a disk?

        Some kinds of disk don't tell (tmpfs, overlay): what is on this machine is then taken to be there.
        """
        is_there = self._sender.is_in_memory(fd, at)
        return was_local(fd) if is_there is None else is_there

    def close(self) -> None:
        self._is_closed = True
        if self.is_pending:
            self.is_pending = False
            self._connection.context.sending -= 1
        self._queue.clear()
        if self._is_watching:
            self._is_watching = False
            self._connection.context.loop.remove_writer(self._sender.fd)
        self._sender.close()
