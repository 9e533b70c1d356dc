"""Steps 4 to 6 of the request path: one request and its answer on a stream of HTTP/2 (the seam of D2).

I/O: none but reads of files that the kernel has in memory; what it has not is read in a thread (D5). What the client's
windows or the connection do not take waits here: a piece of a handler's answer, or files. Invariants: bytes go out in
the order in which they were given; what the handler has not taken of a body is not credited to the client, so it stays
with the client (RFC 9113 §5.2); a stream is done with when both sides have ended it, or is reset.

HOT: ``send`` is the whole answer of most requests (benchmarks/h2_files.py).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from pyserve.errors import RequestError
from pyserve.files.disks import was_local
from pyserve.files.reading import read_now, read_whole
from pyserve.front.books import Books
from pyserve.front.h2.repeat import H2Repeat
from pyserve.front.pace import Pace
from pyserve.handlers.interface import Lent, Same
from pyserve.handlers.modifiers import PLAIN
from pyserve.http.h2.frames import INTERNAL_ERROR
from pyserve.http.request import Request
from pyserve.http.response import has_no_body, without_trailer
from pyserve.wire.codec import TRAILED

if TYPE_CHECKING:
    from pyserve.front.h2.connection import H2Connection

PIECE_BYTES = 64 * 1024
"""So much of a file is read at once."""

Piece = tuple[int, int, int]  # fd, offset, count


class H2Exchange(Books):
    __slots__ = (
        "_has_body",
        "_head",
        "_held",
        "_is_ended",
        "_is_loading",
        "_left",
        "_queue",
        "_received",
        "_seen",
        "_trailers",
        "most_body_bytes",
        "reading_deadline",
        "reading_pace",
        "stream",
    )

    connection: H2Connection
    most_body_bytes: int
    """Where there is a body: how long it may be."""
    reading_deadline: float
    reading_pace: Pace

    def __init__(self, connection: H2Connection, request: Request, stream: int) -> None:
        super().__init__(connection, request)
        self.stream = stream
        self._queue: deque[bytes | Piece] | None = None  # what waits for room
        self._held: list[bytes | None] | None = None  # of the body, while nobody takes it; None = its end
        self._head: tuple[bytes, bytes, int] | None = None
        self._left = -1
        self._has_body = True
        self._trailers = b""
        self._received = 0
        self._seen = 0  # of a frame that is not whole yet
        self._is_ended = False  # our side of the stream
        self._is_loading = False  # a thread reads what is to be sent next

    # The request's body.

    def want_body(self) -> None:
        if self.waits_for_continue and not self.over:
            self.waits_for_continue = False
            if not self.body_is_read and not self.status:
                if not self._received:
                    self.connection.h2.send_head(self.stream, 100, b"")
                    self.connection.flush_soon()
                self.expect_body()

    def expect_body(self) -> None:
        """From now on it is the client that is slow with the body: a piece in time, and enough of them (F2)."""
        context = self.connection.context
        limits = context.limits
        self.reading_deadline = context.now + limits.body_timeout_s
        self.reading_pace = Pace(limits.body_timeout_s, limits.min_rate_bytes, context.now)

    def pause_body(self) -> None:
        if not self.over:
            self.body_is_paused = True

    def resume_body(self) -> None:
        if not self.body_is_paused or self.over:
            return
        self.body_is_paused = False
        held, self._held = self._held, None
        if held is not None:
            for at, data in enumerate(held):
                if self.over:
                    return  # who was given the last piece has answered
                if self.body_is_paused:
                    self._held = held[at:] + (self._held or [])
                    return
                if data is None:
                    self._end_body()
                else:
                    self._deliver(data)
        if not self.body_is_read:
            self.expect_body()

    def body_data(self, data: bytes) -> None:
        """Take a piece of the body from the connection; credit goes back when somebody has taken it."""
        if self.over:
            self.connection.return_credit(self, len(data))
            return
        self._received += len(data)
        self.waits_for_continue = False
        if self._received > self.most_body_bytes:
            self.connection.return_credit(self, len(data))
            self.refuse(RequestError(413, "the body is larger than max_body"))
            return
        self._moved(len(data) - self._seen)
        self._seen = 0
        if self.body_is_paused:
            self._hold(data)
        else:
            self._deliver(data)

    def _moved(self, count: int) -> None:
        context = self.connection.context
        self.reading_deadline = context.now + context.limits.body_timeout_s
        self.reading_pace.moved(count)

    def body_is_coming(self, so_far: int) -> None:
        """A frame of the body is on its way: ``so_far`` of its bytes are here."""
        if so_far > self._seen and self.request.has_body:
            self._moved(so_far - self._seen)
            self._seen = so_far

    def _hold(self, data: bytes | None) -> None:
        """Keep a piece of the body, or its end, until somebody takes it; the client's window bounds that."""
        if self._held is None:
            self._held = []
        self._held.append(data)

    def _deliver(self, data: bytes) -> None:
        if self.receiver is not None:
            self.receiver.body_data(data)
        self.connection.return_credit(self, len(data))

    def body_end(self) -> None:
        """The client has ended its side."""
        if self.over:
            return
        if self.body_is_paused:
            self._hold(None)
        else:
            self._end_body()

    def _end_body(self) -> None:
        self.body_is_read = True
        if self.receiver is not None and self.request.has_body:
            self.receiver.body_end()

    def refuse(self, error: RequestError) -> None:
        """The body is none that may be: answer so, or cut the answer that is under way."""
        if self.has_begun:
            self._cut()
            return
        receiver, self.receiver = self.receiver, None
        self.connection.context.refused(self.client, error)
        self.fail(error.status, error.reason)
        if receiver is not None:
            receiver.client_gone()

    # The answer.

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if self.over:
            return
        self.status = status
        connection = self.connection
        request = self.request
        modifiers = self.modifiers
        if modifiers is not PLAIN:
            block = (modifiers.strip(block) if modifiers.dropped else block) + modifiers.lines
            flags |= modifiers.flags
        length = len(body)
        if status == 304 or status == 204:
            length = -1
            body = b""
        elif request.method == "HEAD":
            body = b""
        self._head = None  # one that was held is replaced
        self._trailers = b""
        common = connection.context.common[flags & 6]
        if body and connection.is_full:
            connection.h2.send_head(self.stream, status, block, common, length)
            taken = 0
        else:
            taken = connection.h2.send_answer(self.stream, status, block, common, length, body)
        connection.sent(taken)
        self.sent_bytes = taken
        if taken < len(body):
            self._left = 0
            self._is_finishing = True
            self._wait_with(body[taken:])
        else:
            self._is_ended = True
            self._end()
            if same is not None and request.kind is not None:  # and its line for the log is there
                H2Repeat(status, block, length, body, same, flags & 6).keep(request, connection.heads)

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if self.over:
            return
        self.status = status
        modifiers = self.modifiers
        if modifiers is not PLAIN:
            block = (modifiers.strip(block) if modifiers.dropped else block) + modifiers.lines
            flags |= modifiers.flags
        self._left = -1 if length is None else length
        if flags & TRAILED and not self.request.takes_trailers:
            block = without_trailer(block)
        if has_no_body(status):
            length = None
        if self.request.method == "HEAD" or has_no_body(status):
            self._has_body = False
            self._left = -1
        # Held, so that it leaves together with the first piece of the body.
        self._head = (block, self.connection.context.common[flags & 6], -1 if length is None else length)

    def _write_hints(self, lines: bytes) -> None:
        self.connection.h2.send_head(self.stream, 103, lines)
        self.connection.flush_soon()

    def send_trailers(self, block: bytes) -> None:
        if not self.over and self._has_body and self.request.takes_trailers:
            self._trailers = self.modifiers.strip(block) if self.modifiers.dropped else block

    def flush_soon(self) -> None:
        self.connection.context.loop.call_soon(self._flush_head)

    def _flush_head(self) -> None:
        if self._head and not self.over:
            self._send_head(False)

    def _send_head(self, is_end: bool) -> None:
        head, self._head = self._head, None
        assert head is not None
        self.connection.h2.send_head(self.stream, self.status, *head, end_stream=is_end)
        self.connection.flush_soon()
        self._is_ended = is_end

    def send_data(self, data: bytes) -> None:
        if self.over or not data or not self._has_body:
            return
        if self._left >= 0:
            if len(data) > self._left:
                data = data[: self._left]
                if not data:
                    return
            self._left -= len(data)
        if self._head:
            self._send_head(False)
        if self._queue:
            self._queue.append(data)
            return
        connection = self.connection
        if connection.is_full:
            self._wait_with(data)
            return
        is_end = not self._left and not self._trailers
        taken = connection.h2.send_data(self.stream, data, is_end)
        self.sent_bytes += taken
        connection.sent(taken)
        if taken < len(data):
            self._wait_with(data[taken:])
        elif is_end:
            self._is_ended = True

    def send_file(self, fd: int, offset: int, count: int) -> None:
        if self.over or not self._has_body:
            return
        if self._left >= 0:
            count = min(count, self._left)
            self._left -= count
        if not count:
            return
        if self._head:
            self._send_head(False)
        self._wait_with((fd, offset, count))

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        if self.over:
            return
        self.send_head(status, block, count)
        lent.retain()
        self.at_end(lent.release)
        self.send_file(lent.fd, offset, count)
        self.finish()

    def send_rest(self, status: int, rest: bytes, sent: int) -> None:
        """Go on with an answer whose head and first ``sent`` bytes have gone already."""
        self.status = status
        self.sent_bytes = sent
        self._left = 0
        self._is_finishing = True
        self._wait_with(rest)

    def _wait_with(self, output: bytes | Piece) -> None:
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(output)
        if len(queue) == 1:
            self.connection.waits(self)

    @property
    def is_writable(self) -> bool:
        return not self._queue and not self.connection.is_full

    def pump(self, most: int) -> int:
        """Send up to ``most`` bytes of what waits. Returns how many went: 0 = there is nothing to send, or no room."""
        queue = self._queue
        if not queue or self._is_loading:
            return 0
        h2 = self.connection.h2
        output = queue[0]
        if isinstance(output, bytes):
            data = output[:most] if len(output) > most else output
            left = len(output) - len(data)
        else:
            fd, offset, count = output
            most = min(most, count, h2.room(self.stream))
            if not most:
                return 0
            buffer = bytearray(most)
            try:
                got = read_now(fd, buffer, offset)
            except OSError:
                got = 0
            if got is None:
                self._load(fd, offset, min(count, PIECE_BYTES))
                return 0
            if not got:  # the file can't be read, or has shrunk: the promised length can't be kept
                self._cut()
                return 0
            data = bytes(buffer) if got == most else bytes(buffer[:got])
            left = count - got
        is_end = not left and len(queue) == 1 and not self._trailers and (self._is_finishing or not self._left)
        taken = h2.send_data(self.stream, data, is_end)
        self.sent_bytes += taken
        if isinstance(output, bytes):
            if taken < len(output):
                queue[0] = output[taken:]
                return taken
        elif taken < output[2]:
            queue[0] = (output[0], output[1] + taken, output[2] - taken)
            return taken
        queue.popleft()
        if is_end:
            self._is_ended = True
        if not queue:
            self._drained()
        return taken

    def _load(self, fd: int, offset: int, count: int) -> None:
        """Let a thread wait for the disk."""
        lanes = self.connection.context.lanes
        self._is_loading = True

        def done(data: bytes | None, error: BaseException | None) -> None:
            self._is_loading = False
            if self.over or not self._queue:
                return
            if not data:  # it can't be read, or has shrunk
                self._cut()
                return
            piece = self._queue[0]
            assert not isinstance(piece, bytes)
            if len(data) == piece[2]:
                self._queue.popleft()
            else:
                self._queue[0] = (piece[0], piece[1] + len(data), piece[2] - len(data))
            self._queue.appendleft(data)
            self.connection.waits(self)

        (lanes.disk if was_local(fd) else lanes.network).run(partial(read_whole, fd, offset, count), done)

    def _drained(self) -> None:
        """Nothing waits here any more."""
        if self._is_finishing:
            self._conclude()
        elif self.receiver is not None:
            # In the next turn: for a client that takes all at once this would never return.
            self.connection.context.loop.call_soon(self.receiver.on_writable)

    @property
    def is_waiting(self) -> bool:
        """Does something wait for room?"""
        return bool(self._queue)

    def finish(self) -> None:
        if self.over:
            return
        if self._left > 0:  # a client must never take a short answer for a whole one
            self.abort()
            return
        if self._queue:
            self._is_finishing = True
        else:
            self._conclude()

    def _conclude(self) -> None:
        """Everything was sent: end our side."""
        if not self._is_ended:
            self._is_ended = True
            if self._trailers and self._has_body:
                if self._head:
                    self._send_head(False)
                self.connection.h2.send_trailers(self.stream, self._trailers)
            elif self._head:
                self._send_head(True)
            else:
                self.connection.h2.send_data(self.stream, b"", True)
            self.connection.flush_soon()
        self._end()

    @property
    def has_begun(self) -> bool:
        return self.status != 0 and not self._head  # while it is held nothing has gone yet

    def abort(self) -> None:
        if not self.over:
            self.close_books()
            self.connection.h2.reset(self.stream, INTERNAL_ERROR)
            self.connection.flush_soon()
            self.connection.stream_over(self)

    def _cut(self) -> None:
        """Abort for a reason that who answers does not know of."""
        receiver = self.receiver
        self.abort()
        if receiver is not None:
            receiver.client_gone()

    def _replace(self) -> H2Exchange:
        other = H2Exchange(self.connection, self.request, self.stream)
        other._received = self._received
        other._held = self._held
        if self.request.has_body:
            other.most_body_bytes = self.most_body_bytes
            other.expect_body()
        self.connection.exchanges[self.stream] = other
        return other

    # Deadlines.

    def sweep(self, now: float) -> None:
        """Every 250 ms, while it lasts: is the client in time with its body?"""
        if not (self.body_is_read or self.body_is_paused or self.waits_for_continue) and self.request.has_body:
            if now >= self.reading_deadline:
                self.refuse(RequestError(408, "the body took too long"))
                return
            if self.reading_pace.is_too_slow(now):
                self.refuse(RequestError(408, "the body came too slowly"))
                return

    # The exit door.

    def _end(self) -> None:
        self.close_books()
        self.connection.stream_over(self)
