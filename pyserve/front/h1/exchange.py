"""Steps 4 to 6 of the request path: one request and its answer on an HTTP/1 connection (the seam of D2).

I/O: none of its own; it frames the answer and hands bytes to its connection. The one exit door (``_end``) writes the
log line, runs the callbacks, and tells the connection what may come next. Sources: RFC 9112 §6, §9.

HOT: ``send`` is the whole answer of most requests (benchmarks/hello_asgi.py, files_small.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.front.books import DROP_BODY_BYTES, Books
from pyserve.front.h1.repeat import Repeat
from pyserve.handlers.interface import Lent, Same
from pyserve.handlers.modifiers import PLAIN
from pyserve.http.response import STATUS_LINES, end_of_head, has_no_body, without_trailer
from pyserve.wire.codec import CLOSE, HAS_DATE, TRAILED

if TYPE_CHECKING:
    from pyserve.front.h1.connection import Connection


class Exchange(Books):
    __slots__ = ("_has_body", "_head", "_is_chunked", "_left", "_trailers")

    connection: Connection

    # The request's body.

    def want_body(self) -> None:
        if self.waits_for_continue and not self.over:
            self.waits_for_continue = False
            if not self.body_is_read and not self.status:
                # A client that sent some of it already needs no telling (RFC 9110 §10.1.1).
                if not self.connection.has_body_bytes:
                    self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.connection.expect_body()

    def pause_body(self) -> None:
        if self.over:
            return
        self.body_is_paused = True
        self.connection.pause_body()

    def resume_body(self) -> None:
        if self.body_is_paused and not self.over:
            self.body_is_paused = False
            self.connection.resume_body()

    # The answer.

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if self.over:
            return
        connection = self.connection
        request = self.request
        self.status = status
        modifiers = self.modifiers
        if modifiers is not PLAIN:
            block = (modifiers.strip(block) if modifiers.dropped else block) + modifiers.lines
            flags |= modifiers.flags
        if request.has_body and not self.body_is_read:
            self._decide_rest()
        if (
            request.keep_alive
            and request.version == "1.1"
            and not (flags & CLOSE or self.will_close or connection.must_close)
        ):
            length = len(body)
            last = end_of_head(length)
            if status == 304 or status == 204:
                last = b"\r\n"
                body = b""
                length = -1
            elif request.method == "HEAD":
                body = b""
            self.sent_bytes = len(body)
            connection.write(b"".join((STATUS_LINES[status], block, connection.context.common[flags & 6], last, body)))
            if same is not None and request.kind is not None:
                Repeat(status, block, length, body, same, flags & 6).keep(request, connection.heads)
        else:
            head = self._head_bytes(status, block, len(body), flags)
            if has_no_body(status) or request.method == "HEAD":
                body = b""
            self.sent_bytes = len(body)
            connection.write(head + body)
        self.close_books()
        connection.exchange_over(self)

    def _decide_rest(self) -> None:
        """An answer before the end of the body: say at once if the connection is not going to outlive it.

        Nobody can know whether a client that was never told to go on sends its body now: what comes could be either.
        """
        if self.waits_for_continue or self.connection.body_left > DROP_BODY_BYTES:
            self.will_close = True

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if self.over:
            return
        self.status = status
        modifiers = self.modifiers
        if modifiers is not PLAIN:
            block = (modifiers.strip(block) if modifiers.dropped else block) + modifiers.lines
            flags |= modifiers.flags
        if self.request.has_body and not self.body_is_read:
            self._decide_rest()
        self._is_chunked = False
        self._left = length if length is not None else -1
        if self.request.method == "HEAD" or has_no_body(status):
            self._has_body = False
            self._left = -1
        else:
            self._has_body = True
            if length is None:
                if self.request.version == "1.1":
                    self._is_chunked = True
                else:
                    self.will_close = True
        self._trailers = b""
        if flags & TRAILED and not self._can_trail:
            block = without_trailer(block)
        # Held, so that it leaves together with the first piece of the body.
        self._head = self._head_bytes(status, block, length, flags)

    def _head_bytes(self, status: int, block: bytes, length: int | None, flags: int) -> bytes:
        request = self.request
        connection = self.connection
        if flags & CLOSE or connection.must_close or not request.keep_alive:
            self.will_close = True
        lines = [STATUS_LINES[status], block, connection.context.common[flags & 6]]
        if length is not None:
            if not has_no_body(status):
                lines.append(b"content-length: %d\r\n" % length)
        elif not has_no_body(status) and request.version == "1.1":
            lines.append(b"transfer-encoding: chunked\r\n")
        if self.will_close:
            lines.append(b"connection: close\r\n")
        elif request.version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _write_hints(self, lines: bytes) -> None:
        """HTTP/1.0 knows no answer before the answer (RFC 9110 §15.2)."""
        if self.request.version != "1.0":
            self.connection.write(b"%b%b\r\n" % (STATUS_LINES[103], lines))

    @property
    def _can_trail(self) -> bool:
        """Only chunks have room for fields behind them (RFC 9112 §7.1.2), and only who asks for them is sent any: a
        client that does not know them must not have to skip them."""
        return self._is_chunked and self.request.takes_trailers

    def send_trailers(self, block: bytes) -> None:
        if not self.over and self._has_body and self._can_trail:
            self._trailers = self.modifiers.strip(block) if self.modifiers.dropped else block

    def flush_soon(self) -> None:
        self.connection.context.loop.call_soon(self._flush_head)

    def _flush_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self.over:
            self.connection.write(head)

    def send_data(self, data: bytes) -> None:
        if self.over or not data or not self._has_body:
            return
        if self._left >= 0:
            if len(data) > self._left:
                data = data[: self._left]
                if not data:
                    return
            self._left -= len(data)
        self.sent_bytes += len(data)
        head, self._head = self._head, b""
        if self._is_chunked:
            self.connection.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self.connection.write(head + data if head else data)

    def send_file(self, fd: int, offset: int, count: int) -> None:
        if self.over or not self._has_body:
            return
        if self._left >= 0:
            count = min(count, self._left)
            self._left -= count
        if not count:
            return
        head, self._head = self._head, b""
        if self._is_chunked:
            self.connection.write_file(b"%b%x\r\n" % (head, count), fd, offset, count, b"\r\n")
        else:
            self.connection.write_file(head, fd, offset, count, b"")

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        if self.over:
            return
        connection = self.connection
        request = self.request
        modifiers = self.modifiers
        sent = 0
        if (
            count
            and request.method == "GET"
            and request.keep_alive
            and request.version == "1.1"
            and not (request.has_body or self.will_close or connection.must_close)
        ):
            if modifiers is not PLAIN:
                block = (modifiers.strip(block) if modifiers.dropped else block) + modifiers.lines
            head = b"".join(
                (STATUS_LINES[status], block, connection.context.common[modifiers.flags], end_of_head(count))
            )
            if same is not None and request.kind is not None:
                Repeat(status, block, count, b"", same, modifiers.flags, lent, offset).keep(request, connection.heads)
            done = connection.write_file_at_once(head, lent.fd, offset, count)
            self.status = status
            if done == count:
                self.sent_bytes = count
                self._end()
                return
            if connection.transport.is_closing():
                return  # it was lost at that; ``client_left`` follows
            self._has_body = True
            self._is_chunked = False
            self._left = count - (done or 0)
            self._head = head if done is None else b""
            sent = self.sent_bytes = done or 0
        else:
            self.send_head(status, block, count)
        lent.retain()
        self.at_end(lent.release)
        self.send_file(lent.fd, offset + sent, count - sent)
        self.finish()

    def send_rest(self, status: int, lent: Lent, offset: int, count: int, sent: int) -> None:
        """Go on with an answer whose head and first ``sent`` bytes have gone already."""
        lent.retain()
        self.at_end(lent.release)
        self.status = status
        self.sent_bytes = sent
        self._head = b""
        self._has_body = True
        self._is_chunked = False
        self._left = count
        self.send_file(lent.fd, offset, count)
        self.finish()

    def switch(self, block: bytes) -> None:
        if self.over:
            return
        self.status = 101
        self.will_close = True
        self.body_is_read = True
        self._head = self._trailers = b""
        self._has_body = True
        self._is_chunked = False
        self._left = -1
        connection = self.connection
        common = connection.context.common[HAS_DATE]
        connection.write(
            b"%b%b%bupgrade: websocket\r\nconnection: upgrade\r\n\r\n" % (STATUS_LINES[101], block, common)
        )
        connection.begin_tunnel()

    @property
    def ends_with_connection(self) -> bool:
        """Is a body under way whose end only the end of the connection tells?"""
        return self.status != 0 and getattr(self, "_has_body", False) and self._left < 0 and not self._is_chunked

    @property
    def is_writable(self) -> bool:
        return self.connection.is_writable

    def finish(self) -> None:
        if self.over:
            return
        if self._left > 0:  # a client must never take a short answer for a whole one
            self.abort()
            return
        head, self._head = self._head, b""
        if self._is_chunked and self._has_body:
            head += b"0\r\n%b\r\n" % self._trailers if self._trailers else b"0\r\n\r\n"
        if head:
            self.connection.write(head)
        if self.connection.has_file_pending:
            self._is_finishing = True  # over when the last byte of it was sent
        else:
            self._end()

    def files_sent(self) -> None:
        """The connection has sent every piece of a file."""
        if self._is_finishing:
            self._end()
        elif self.receiver is not None:
            # In the next turn: for a client that takes all at once this would never return.
            self.connection.context.loop.call_soon(self.receiver.on_writable)

    def abort(self) -> None:
        if not self.over:
            self.will_close = True
            self.close_books()
            self.connection.abort()

    @property
    def has_begun(self) -> bool:
        return self.status != 0 and not self._head  # while it is held nothing has gone yet

    def _replace(self) -> Exchange:
        other = self.connection.exchange = Exchange(self.connection, self.request)
        return other

    # The exit door.

    def _end(self) -> None:
        self.close_books()
        self.connection.exchange_over(self)
