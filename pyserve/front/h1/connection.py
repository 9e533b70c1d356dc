"""Steps 3 and 6 of the request path: one HTTP/1 connection, the only thing that reads from and writes to its client.

I/O: a transport of the event loop (D1: callbacks, no tasks) and, for files, ``sendfile`` on a duplicate of its
descriptor. Holds one exchange at a time; what is pipelined behind it stays unread. Deadlines are only stored here;
the front sweeps them (D4).

HOT: ``data_received`` to ``exchange_over`` is every request (benchmarks/hello_asgi.py, files_small.py).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from pyserve.errors import Fate, RequestError
from pyserve.front.books import DROP_BODY_BYTES
from pyserve.front.client_connection import ClientConnection
from pyserve.front.context import Context
from pyserve.front.h1.exchange import Exchange
from pyserve.front.h1.file_output import FileOutput
from pyserve.front.h1.repeat import Repeat
from pyserve.front.pace import Pace
from pyserve.http.h1 import END_OF_MESSAGE, NEED_DATA, Reader
from pyserve.http.request import Memo, Request
from pyserve.http.response import ERROR_BLOCK, STATUS_LINES, error_page
from pyserve.wire.codec import Peer, TlsPeer

if TYPE_CHECKING:
    from pyserve.front.realm import Realm
    from pyserve.front.tls.files import TlsFiles

# Phases. In RUN and CLOSING only a client that takes nothing is cut: the pool's own time-outs end the rest. From LINGER
# on nothing that comes is a request: in a TUNNEL it is another protocol's, and whose that is has time-outs of its own.
IDLE, HEAD, BODY, RUN, LINGER, CLOSING, TUNNEL = range(7)

HIGH_WATER = 16 * 1024
"""Unsent in memory; the kernel has megabytes beside it, and slow clients are many."""
MAX_PIPELINED_BYTES = 64 * 1024
LINGER_S = 2.0
LINGER_MOST_S = 10.0
"""A client that goes on sending is read so long after the last answer: who uploads a gigabyte before it looks for an
answer finds one, not a reset (RFC 9112 §9.6)."""
FILES_IDLE_S = 1.0
"""So long an idle connection keeps the duplicate of its socket."""


class Connection(ClientConnection):
    __slots__ = (
        "_dropped",
        "_files",
        "_has_eof",
        "_is_advancing",
        "_is_held",
        "_is_paused",
        "_is_reading_paused",
        "_linger_ends",
        "_reader",
        "_reading_pace",
        "exchange",
        "must_close",
        "phase",
    )

    def __init__(
        self,
        context: Context,
        given: Peer | None = None,
        realm: Realm | None = None,
        tls: Callable[[], TlsPeer] | None = None,
    ) -> None:
        super().__init__(context, given, realm, tls)
        self.exchange: Exchange | None = None
        self.must_close = False
        self.phase = HEAD
        self._reading_pace: Pace | None = None  # of a body
        self._linger_ends = 0.0
        self._reader: Reader | None = None
        self._files: FileOutput | TlsFiles | None = None
        self._is_paused = False
        self._is_reading_paused = False
        self._is_advancing = False
        self._is_held = False  # the next request waits until the client takes the answers before it
        self._has_eof = False
        self._dropped = 0

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.meet(transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)
        self.context.add(self)
        if self.context.is_draining:  # the kernel had accepted it before
            self.drain()

    def connection_lost(self, exc: Exception | None) -> None:
        self.context.forget(self)
        self._close_files()
        self._reader = None
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_left()

    def data_received(self, data: bytes) -> None:
        if self.phase >= LINGER:
            if self.phase == TUNNEL:
                if self.exchange is not None and self.exchange.receiver is not None:
                    self.exchange.receiver.body_data(data)
            else:
                self.deadline = min(self.context.now + LINGER_S, self._linger_ends)
            return
        if self._reader is None:
            if self.exchange is None:
                context = self.context
                request = self.heads.known.get(data)
                if request is not None:
                    repeat = request.line_memo.get(request.kind)
                    if (
                        repeat is not None
                        and (repeat.same.fresh_until_s > context.now or repeat.same.renew())
                        and not self.must_close
                    ):
                        self._repeat(repeat, request.line_memo, request, data)
                    else:
                        self._begin(request)
                    return
                if data[-4:] == b"\r\n\r\n" and self._begin_whole(data):
                    return
            context = self.context
            self._reader = Reader(self.heads.read, context.limits.max_head_bytes, context.limits.max_headers)
            if self.exchange is not None:
                self._reader.skip_message()  # the one that came from the memo has no body
        self._reader.receive_data(data)
        if self.exchange is None or not self.exchange.body_is_read:
            self._advance()
        if self._reader is not None and self._reader.buffered > MAX_PIPELINED_BYTES:
            self._pause_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more; what it sent whole is still answered."""
        self._has_eof = True
        exchange = self.exchange
        if exchange is None:
            if self._reader is None or not self._reader.buffered or not (self.phase == HEAD or self._is_held):
                return False
            self._advance()
            return True
        if exchange.receiver is not None:
            exchange.receiver.client_half_closed()
        if not exchange.body_is_read:
            self._advance()
        return True

    def pause_writing(self) -> None:
        self._is_paused = True
        if self.exchange is None and self.phase < BODY:
            self._pause_reading()  # who takes no answers asks for no more

    def resume_writing(self) -> None:
        self._is_paused = False
        if self.has_file_pending:
            self._files.transport_is_empty()  # type: ignore[union-attr]
        elif self.exchange is not None:
            if self.exchange.receiver is not None:
                self.exchange.receiver.on_writable()
        elif self._is_held:
            self._go_on()
        elif self.phase < LINGER:
            self._resume_reading()

    # Reading.

    @property
    def body_left(self) -> int:
        """Bytes of the current body that have not come yet; 0 where nobody knows (chunked)."""
        return self._reader.body_left if self._reader is not None else 0

    @property
    def has_body_bytes(self) -> bool:
        return self._reader is not None and self._reader.buffered > 0

    def _advance(self) -> None:
        """Take events from the reader until it needs more bytes or the exchange needs time."""
        reader = self._reader
        if reader is None or self._is_advancing:
            return
        self._is_advancing = True
        try:
            while True:
                exchange = self.exchange
                if exchange is None:
                    if self._is_held:
                        break
                elif exchange.body_is_read or exchange.body_is_paused:
                    break
                event = reader.next_event()
                if event is NEED_DATA:
                    self._wait_for_client(reader)
                    break
                if isinstance(event, bytes):
                    if exchange is not None:
                        self.deadline = self.context.now + self.context.limits.body_timeout_s
                        self._reading_pace.moved(len(event))  # type: ignore[union-attr]
                        exchange.waits_for_continue = False
                        if exchange.receiver is not None:
                            exchange.receiver.body_data(event)
                    else:
                        self._drop(len(event))
                elif event is END_OF_MESSAGE:
                    if exchange is not None:
                        exchange.body_is_read = True
                        self.phase = RUN
                        if exchange.receiver is not None and exchange.request.has_body:
                            exchange.receiver.body_end()
                    else:
                        reader.start_next_message()
                        if reader.is_between_messages:
                            self._become_idle()
                            break
                        self.phase = HEAD
                        self.deadline = self.context.now + self.context.limits.head_timeout_s
                        self._hold_if_full()
                else:
                    assert isinstance(event, Request)
                    self._begin(event)
                if self._reader is not reader or self.phase >= LINGER or self.transport.is_closing():
                    break  # who was cut, or has left, is served nothing more
        except RequestError as error:
            self._refuse(error)
        except Exception:
            # Our own bug: this connection is cut, the front serves on.
            self.context.incident(f"internal error\n{traceback.format_exc()}")
            self.abort()
        finally:
            self._is_advancing = False

    def _wait_for_client(self, reader: Reader) -> None:
        if self._has_eof:  # half a message is no request
            if self.exchange is None:
                self._close()
            else:
                self.abort()
        elif self.exchange is None and self.phase == IDLE and reader.buffered:
            self.phase = HEAD
            self.deadline = self.context.now + self.context.limits.head_timeout_s

    def _begin_whole(self, data: bytes) -> bool:
        """``data`` ends as a head does. Return False if it needs a reader: there is more in it than one head."""
        context = self.context
        if len(data) > context.limits.max_head_bytes or data[0] == 13:
            return False
        try:
            found = self.heads.look_up(data, context.now)
        except RequestError as error:
            self._refuse(error)
            return True
        if found is None:
            return False
        if type(found) is tuple:
            if not self.must_close:
                self._repeat(*found, data)
                return True
            found = self.heads.read(data)
        assert isinstance(found, Request)
        if found.has_body:
            return False
        self._begin(found)
        return True

    def _repeat(self, repeat: Repeat, line_memo: Memo, request: Request, raw: bytes) -> None:
        """Answer as the last equal request was answered: the whole of an exchange, without making one.

        ``request``: the fields that the log has are its own. ``raw``: the head.
        """
        context = self.context
        started = monotonic()
        if repeat.turn != context.turn:
            repeat.refresh(context, self.heads)
        data = repeat.data
        if repeat.lent is not None:
            if not self._repeat_file(repeat, data, raw):
                return
        else:
            self.written += len(data)
            self.transport.write(data)
        context.requests += 1
        context.repeated += 1
        self.phase = IDLE
        self.deadline = context.idle_deadline
        if context.log_repeated is not None:
            micros = int((monotonic() - started) * 1_000_000)
            context.log(context.log_repeated(self.client, line_memo, request, repeat.logged, micros))

    def _repeat_file(self, repeat: Repeat, head: bytes, raw: bytes) -> bool:
        """Send a head and a file in one go. Return False if an exchange had to be made of it, to send the rest."""
        lent = repeat.lent
        if self._files is None or lent is None or lent.fd < 0:
            self._begin(self.heads.read(raw))
            return False
        count = repeat.length
        sent = self.write_file_at_once(head, lent.fd, repeat.offset, count)
        if sent is None:
            if not self.transport.is_closing():
                self._begin(self.heads.read(raw))
            return False
        if sent == count:
            return True
        exchange = self.exchange = Exchange(self, self.heads.read(raw))
        exchange.body_is_read = True
        self.phase = RUN
        exchange.send_rest(repeat.status, lent, repeat.offset + sent, count - sent, sent)
        return False

    def _begin(self, request: Request) -> None:
        """Route a request and hand it to its handler."""
        context = self.context
        exchange = self.exchange = Exchange(self, request)
        has_body = request.has_body
        if has_body:
            self.phase = BODY
            self.expect_body()
        else:
            self.phase = RUN
            exchange.body_is_read = self._reader is None
        try:
            if has_body:
                assert self._reader is not None
                self._reader.check_buffered()
            match = self.realm.find_match(request.host, request.path)
            if match.modifiers is not None:
                exchange.modifiers = match.modifiers.for_request(request)  # type: ignore[attr-defined]
            if has_body:
                limit = match.site.max_body_bytes
                assert self._reader is not None
                self._reader.allow_body(context.limits.max_body_bytes if limit is None else limit)
            match.handler.handle(exchange, match)
        except RequestError as error:
            if error.fate is not Fate.KEEP:
                self.must_close = True
            elif has_body:
                # No site, or none of its routes, wants it: it is read and dropped, and is no larger than any may be.
                self._reader.allow_unwanted_body(context.limits.max_body_bytes)  # type: ignore[union-attr]
            exchange.fail(error.status, error.reason)
        except Exception:
            # Our own bug: this request fails, the front serves on.
            exchange.fail(500, f"internal error\n{traceback.format_exc()}")

    def _refuse(self, error: RequestError) -> None:
        """Answer bytes that are no acceptable request, then close: nothing after them can be trusted."""
        self.must_close = True
        exchange = self.exchange
        if exchange is not None and not exchange.over:
            if exchange.status:
                self.abort()
                return
            exchange.will_close = True
            receiver = exchange.receiver
            exchange.receiver = None
            self.context.refused(self.client, error)
            exchange.fail(error.status, error.reason)
            if receiver is not None:
                receiver.client_gone()
            return
        if self.phase == BODY:  # the rest of a body whose request was answered long ago: that answer is to be seen
            self._linger()
            return
        context = self.context
        body = error_page(error.status, "")
        self.write(
            b"%b%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINES[error.status], ERROR_BLOCK, context.common[0], len(body), body)
        )
        if context.log_line is not None:
            context.log(context.log_line(self.client, None, error.status, len(body), 0.0))
        context.refused(self.client, error)
        self._linger()

    def _drop(self, count: int) -> None:
        """Count bytes of a body whose request was answered long ago; past the limit the connection ends."""
        self._dropped += count
        if self._dropped > DROP_BODY_BYTES:
            self._linger()

    def expect_body(self) -> None:
        """From now on it is the client that is slow with the body: a piece in time, and enough of them (F2)."""
        context = self.context
        limits = context.limits
        self.deadline = context.now + limits.body_timeout_s
        if self._reading_pace is None:
            self._reading_pace = Pace(limits.body_timeout_s, limits.min_rate_bytes, context.now)
        else:
            self._reading_pace.restart(context.now)

    def pause_body(self) -> None:
        self._pause_reading()

    def resume_body(self) -> None:
        self._resume_reading()
        if self.phase == BODY:
            self.expect_body()
        self._advance()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and not self.transport.is_closing():
            self._is_reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and not self.transport.is_closing():
            self._is_reading_paused = False
            self.transport.resume_reading()

    def begin_tunnel(self) -> None:
        """The exchange has switched to another protocol: what comes from now on is given to its receiver as it is."""
        reader, self._reader = self._reader, None
        self.phase = TUNNEL
        self._resume_reading()
        early = b"" if reader is None else reader.take_buffered()
        if early:  # a client that did not wait for its 101; before anything else of it can come
            self.data_received(early)

    # Writing.

    @property
    def is_writable(self) -> bool:
        return not self._is_paused and not self.has_file_pending

    @property
    def has_file_pending(self) -> bool:
        return self._files is not None and self._files.is_pending

    def write(self, data: bytes) -> None:
        if self._files is not None and self._files.is_pending:
            self._files.append(data)
        else:
            self.written += len(data)
            self.transport.write(data)

    def write_file(self, before: bytes, fd: int, offset: int, count: int, after: bytes) -> None:
        """Send ``before``, a piece of a file, and ``after``, in this order behind everything written so far."""
        files = self._files or self._make_files()
        if files is not None:
            files.send(before, fd, offset, count, after)

    def write_file_at_once(self, head: bytes, fd: int, offset: int, count: int) -> int | None:
        """Send a head and as much of a file as goes without waiting. Return how much did; None: not even the head."""
        files = self._files or self._make_files()
        if files is None:
            return None
        try:
            sent = files.send_at_once(head, fd, offset, count)
        except OSError:
            self.abort()
            return None
        if sent is not None:
            self.written += len(head) + sent
        return sent

    def _make_files(self) -> FileOutput | TlsFiles | None:
        try:
            self._files = FileOutput(self)
        except OSError:  # lost already, or no descriptor is left
            self.abort()
        return self._files

    def restore_write_limits(self) -> None:
        self.transport.set_write_buffer_limits(HIGH_WATER)

    # Ends.

    def exchange_over(self, exchange: Exchange) -> None:
        """The exit door of an exchange: close, read on, or serve what is pipelined behind it."""
        self.exchange = None
        reader = self._reader
        if exchange.will_close or self.must_close:
            self.must_close = True
            if self.phase == TUNNEL and self.transport.can_write_eof():
                # The client may be sending still, and a reset would take away from it what it was sent last.
                self._linger()
            elif exchange.body_is_read or not exchange.request.has_body or self._has_eof:
                self._close()
            else:
                self._linger()
            return
        if reader is None:
            self._become_idle()
            return
        if not exchange.body_is_read:
            self._dropped = 0
            self.phase = BODY
            self.expect_body()
            self._resume_reading()
            self._advance()
            return
        reader.start_next_message()
        if reader.is_between_messages:
            self._become_idle()
            return
        self._hold_if_full()
        if self._is_held:
            return
        self.phase = HEAD
        self.deadline = self.context.now + self.context.limits.head_timeout_s
        self._resume_reading()
        if not self._is_advancing:
            self.context.loop.call_soon(self._advance)

    def _hold_if_full(self) -> None:
        """Let the next request wait while too much is unsent, so that a client that reads nothing costs no memory."""
        if self.transport.get_write_buffer_size() <= HIGH_WATER:
            return
        self._is_held = True
        self.phase = RUN
        self._pause_reading()
        if not self._is_paused:
            self.context.loop.call_soon(self._go_on)  # uvloop writes at the end of the turn, and all may fit

    def _go_on(self) -> None:
        if self._is_held and not self._is_paused and self.phase < LINGER:
            self._is_held = False
            self.phase = HEAD
            self.deadline = self.context.now + self.context.limits.head_timeout_s
            self._resume_reading()
            self._advance()

    def _become_idle(self) -> None:
        self._reader = None
        if self._has_eof:
            self._close()
            return
        self.phase = IDLE
        self.deadline = self.context.idle_deadline
        if self._is_paused:
            self._pause_reading()
        elif self._is_reading_paused:
            self._resume_reading()

    def _close(self) -> None:
        """Close gracefully: what was written still goes out."""
        self.phase = CLOSING
        self._close_files()
        self.transport.close()

    def _linger(self) -> None:
        """Tell the client that nothing more comes, read on for a moment, so that it sees the answer (RFC 9112 §9.6)."""
        self.phase = LINGER
        self._reader = None
        self.deadline = self.context.now + LINGER_S
        self._linger_ends = self.context.now + LINGER_MOST_S
        self._resume_reading()
        if self._has_eof or self.transport.is_closing():
            self._close()
        elif self.transport.can_write_eof():
            self.end_sending()

    def abort(self) -> None:
        """Cut now. An exchange that is not over yet hears of it by ``connection_lost``."""
        self._close_files()
        if self.exchange is not None and self.exchange.ends_with_connection:
            # Nothing but a reset tells the client that this was not the end of its answer (RFC 9112 §6.3).
            self.reset_at_close()
        self.transport.abort()

    def _close_files(self) -> None:
        files, self._files = self._files, None
        if files is not None:
            files.close()

    # Deadlines.

    def sweep(self, now: float) -> None:
        """Called every 250 ms: act on what is overdue."""
        phase = self.phase
        if phase == IDLE:
            if self._files is not None and now - self.deadline + self.context.limits.keepalive_timeout_s > FILES_IDLE_S:
                self._close_files()  # an idle connection holds one descriptor, not two
            if now >= self.deadline:
                self._close()
        elif phase in (RUN, CLOSING, TUNNEL):
            self.check_progress(now, self.has_file_pending)
        elif (
            phase == BODY
            and self.exchange is not None
            and (self.exchange.body_is_paused or self.exchange.waits_for_continue)
        ):
            self.check_progress(now, self.has_file_pending)  # it is not the client that is slow with the body
        elif phase == LINGER and self.transport.get_write_buffer_size():
            self.check_progress(now, self.has_file_pending)
        elif now < self.deadline:
            if phase == BODY and self.exchange is not None and self._reading_pace.is_too_slow(now):  # type: ignore[union-attr]
                self._refuse(RequestError(408, "the body came too slowly"))
        elif phase == HEAD:
            if self._reader is not None and self._reader.buffered:
                self._refuse(RequestError(408, "the head took too long"))
            else:
                self._close()
        elif phase == BODY and self.exchange is not None:
            self._refuse(RequestError(408, "the body took too long"))
        else:
            self.abort()

    @property
    def is_sheddable(self) -> bool:
        """Idle between two requests, with nothing on its way in either direction: closing it loses nothing."""
        return self.phase == IDLE and not self.transport.get_write_buffer_size()

    def close_idle(self) -> None:
        self._close()

    def drain(self) -> None:
        """Finish what runs and take nothing new; an idle client gets a moment for a request already on its way."""
        self.must_close = True
        if self.phase == IDLE or (self.phase == HEAD and self._reader is None):
            self.deadline = min(self.deadline, self.context.now + 1.0)
