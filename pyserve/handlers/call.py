"""Step 5 of the request path: one application call, from the exchange's side to a worker's stream and back.

I/O: none but spool files and files of applications. WSGI bodies are gathered before a worker is taken and answers are
taken over as fast as the application makes them, so a slow client never holds a worker (D16). ASGI streams both ways by
credit, but for small bodies and what fits into ``ASGI_SPOOL_BYTES`` of an answer. A file that an application hands over
is taken over at once.
Invariant: at most one worker runs a call, and a call that may have started is never started again, except an
idempotent one without a body (once).

HOT: ``answer`` with COMPLETE is nearly every call (benchmarks/hello_wsgi.py).
"""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from pyserve.handlers.interface import Exchange
from pyserve.handlers.spool import AnswerSpool, Spool
from pyserve.http.response import is_clean_block, known_clean_blocks
from pyserve.wire import frames
from pyserve.wire.codec import (
    COMPLETE,
    EXPECTS,
    HAS_BODY,
    NOT_IN_TRAILERS,
    RESERVED,
    pack_head,
    request_frame,
    unpack_answer,
)
from pyserve.wire.credit import ReceiveWindow, SendWindow

if TYPE_CHECKING:
    from pyserve.handlers.pool import Pool
    from pyserve.handlers.worker import Worker

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS"))
_PIECE = frames.MAX_PAYLOAD
_FILE_PIECE = 1024 * 1024
ASGI_SPOOL_BYTES = 16 * 1024 * 1024
"""So much of an ASGI answer is taken over for a slow client, so that it holds no slot of its worker for the sake of an
ordinary page or file; a longer one streams under back-pressure."""
HALF_BYTES = 32 * 1024
"""A transport keeps what a full kernel does not take, and keeps it whole: so a frame is given to it in halves."""
GATHERED_BYTES = 64 * 1024
"""Bodies that say that they are no longer are gathered for ASGI too: who drips one holds nothing but a connection."""


class AppCall:
    flags = 0
    """Of the REQUEST, where there is no body."""
    __slots__ = (
        "_answer_is_whole",
        "_body",
        "_body_is_whole",
        "_head_blob",
        "_hints",
        "_pool",
        "_receive_window",
        "_replayable",
        "_send_window",
        "_spool",
        "_uncredited",
        "deadline",
        "exchange",
        "has_answer",
        "is_gathering",
        "is_recalled",
        "is_retry",
        "is_timed_out",
        "left_at",
        "mount",
        "stream",
        "worker",
    )

    def __init__(self, pool: Pool, exchange: Exchange, head_blob: bytes) -> None:
        self._pool = pool
        self.exchange = exchange
        self._head_blob = head_blob  # b"": made when the body's length is known
        self.worker: Worker | None = None
        self.stream = 0
        self.deadline = 0.0
        self.mount = ""
        self.has_answer = False
        self.is_gathering = False
        self.is_recalled = False
        self.is_retry = False
        self.is_timed_out = False
        self.left_at = 0.0  # 0 = the client has not ended its sending, or not while this waited
        self._body: Spool | None = None
        self._body_is_whole = False
        self._send_window: SendWindow | None = None
        self._receive_window: ReceiveWindow | None = None
        self._spool: AnswerSpool | None = None
        self._answer_is_whole = False
        self._uncredited = 0
        self._hints = 0
        self._replayable: list[bytes] | None = None

    # The request goes out.

    @property
    def needs_gathering(self) -> bool:
        return not self._head_blob and not self._body_is_whole

    def gather(self) -> None:
        """Take the whole body before a worker is asked for (WSGI)."""
        self.is_gathering = True
        self._keep_body()
        self.exchange.want_body()
        self.exchange.resume_body()

    def start(self, worker: Worker, stream: int) -> None:
        """Send the request to a worker as ``stream``."""
        self.worker = worker
        self.stream = stream
        self.is_recalled = False
        exchange = self.exchange
        if self._head_blob:
            worker.channel.send_data(request_frame(stream, self.flags, exchange.peer_blob, self._head_blob))
            return
        flags = HAS_BODY
        length = exchange.request.content_length
        if self.is_gathering:
            assert self._body is not None
            if self._replayable is None:
                length = len(self._body)
            else:
                length = len(self._body) + sum(map(len, self._replayable))
        elif exchange.request.expects_continue:
            flags |= EXPECTS
        head = self._pool.wire_head(exchange.request, self.mount, length)
        worker.channel.send_data(request_frame(stream, flags, exchange.peer_blob, pack_head(head)))
        self._send_window = SendWindow()
        again, self._replayable = self._replayable, []
        rest = self._keep_body()
        if again:
            self._body = Spool(self._pool.spool_dir)
            for piece in again:
                self._body.append(piece)
            while data := rest.take(_PIECE):
                self._body.append(data)
            rest.close()
        self._send_body()
        if not self._body_is_whole:
            exchange.resume_body()

    def body_data(self, data: bytes) -> None:
        if self._is_done:
            return  # nobody reads it any more
        try:
            self._keep_body().append(data)
        except OSError as error:
            self.exchange.fail(503, f"the request's body can't be spooled: {error}")
            self.client_gone()
            return
        if self._send_window is not None:
            self._send_body()

    def body_end(self) -> None:
        self._body_is_whole = True
        if self.is_gathering:
            if self.worker is None:
                self._pool.submit(self)
        elif self._send_window is not None:
            self._pool.give_time(self)
            self._send_body()

    @property
    def _is_done(self) -> bool:
        """Has the application ended? Its answer may still be on its way."""
        return self.has_answer and self.worker is None

    def _drop_rest(self) -> None:
        """The application is done without having read all: many clients send all of a body before they read."""
        self.worker = None
        self._send_window = None
        self.exchange.resume_body()

    def _keep_body(self) -> Spool:
        """Return where the body waits for the worker, made at first need."""
        body = self._body
        if body is None:
            body = self._body = Spool(self._pool.spool_dir)
            self.exchange.at_end(self._drop_body)
        return body

    def _drop_body(self) -> None:
        """The exchange is over: what was not sent of the body never will be, so its end is never said either."""
        self._send_window = None
        if self._body is not None:
            self._body.close()

    def _send_body(self) -> None:
        """Send what credit allows; the last piece says that it is the last."""
        body = self._body
        window = self._send_window
        worker = self.worker
        assert body is not None
        assert window is not None
        assert worker is not None
        while True:
            data = body.take(min(_PIECE, window.available))
            if data:
                window.take(len(data))
                if self._replayable is not None:
                    self._replayable.append(data)
            if self._body_is_whole and not len(body):
                worker.channel.send_data(frames.frame(frames.BODY_LAST, self.stream, data))
                self._send_window = None
                return
            if not data:
                break
            worker.channel.send_data(frames.frame(frames.BODY, self.stream, data))
        if not self._body_is_whole:
            if len(body):
                self.exchange.pause_body()
            else:
                self.exchange.resume_body()

    def credit(self, count: int) -> None:
        """The application took ``count`` bytes of the body."""
        self._replayable = None
        if self._send_window is not None:
            self._send_window.add(count)
            self._send_body()

    # The answer comes back.

    def answer(self, payload: bytes) -> bool:
        """Take an ANSWER; return True if it is whole. Raises ``WireError``."""
        status, flags, length, block, body = unpack_answer(payload)
        if self.has_answer:
            raise frames.WireError("a second answer head")
        self.has_answer = True
        is_whole = bool(flags & COMPLETE)
        exchange = self.exchange
        if exchange.over:
            return is_whole
        if block not in known_clean_blocks and not is_clean_block(block):
            raise frames.WireError(f"answer with unclean fields: {block[:200]!r}")
        if is_whole and (length == len(body) or (length < 0 and exchange.request.method != "HEAD")):
            exchange.send(status, block, body, flags)
            if self._send_window is not None:  # it goes on: as a file that the application has named
                self._drop_rest()
            return True
        # HEAD of unknown length too: a Content-Length of 0 would be a lie about what GET has (RFC 9110, 8.6).
        exchange.send_head(status, block, None if length < 0 else length, flags)
        if is_whole:
            exchange.send_data(body)
            exchange.finish()
            if self._send_window is not None:
                self._drop_rest()
            return True
        if body:
            self.data(body)
        else:
            exchange.flush_soon()
        return False

    def hints(self, payload: bytes) -> None:
        """Take lines of a 103 answer. Raises ``WireError``."""
        _check_lines(payload)
        self._hints += 1
        if self._hints > 2 * frames.MAX_HINTS:  # it may have been started twice
            raise frames.WireError("more hints than a worker sends")
        if not self.has_answer:  # a thread of the application's may come too late with them
            self.exchange.send_hints(payload)

    def trailers(self, payload: bytes) -> None:
        """Take the lines that follow the answer's body, which is whole. Raises ``WireError``."""
        _check_lines(payload)
        if not NOT_IN_TRAILERS.isdisjoint([line.partition(b":")[0] for line in payload.split(b"\r\n")]):
            raise frames.WireError(f"fields that may not be trailers: {payload[:200]!r}")
        self.exchange.send_trailers(payload)

    def data(self, data: bytes) -> None:
        """Take a piece of the answer's body and return credit: at once, but where no more may be taken over."""
        window = self._receive_window
        if window is None:
            window = self._receive_window = ReceiveWindow()
        window.received(len(data))
        if len(data) > HALF_BYTES:
            self._take_over(data[:HALF_BYTES])
            data = data[HALF_BYTES:]
        self._take_over(data)

    def _take_over(self, data: bytes) -> None:
        """Send, or keep for when the client has taken what it was sent."""
        exchange = self.exchange
        if exchange.over:
            self._return_credit(len(data))
        elif exchange.is_writable and not self._spool:
            exchange.send_data(data)
            self._return_credit(len(data))
        else:
            spool = self._keep_answer()
            # LIMIT: at most one window beyond the bound; then credit stops until the client has taken all.
            is_within = spool.file_bytes < self._most_spooled
            try:
                spool.append(data)
            except OSError as error:
                exchange.fail(503, f"the answer can't be spooled: {error}")
                self.client_gone()
            if is_within or exchange.over:
                self._return_credit(len(data))
            else:
                self._uncredited += len(data)

    def _keep_answer(self) -> AnswerSpool:
        """Return where the answer waits for the client, made at first need."""
        spool = self._spool
        if spool is None:
            spool = self._spool = AnswerSpool(self._pool.spool_dir)
            self.exchange.at_end(spool.close)
        return spool

    def descriptor(self, fd: int) -> None:
        """Take over the descriptor of a file that the worker hands over, -1 = it was lost. Raises ``WireError``."""
        spool = self._spool
        if not self.exchange.over and (spool is None or spool.descriptors < frames.FILES_AT_ONCE):
            self._keep_answer().arrive(fd)
            return
        if fd >= 0:
            os.close(fd)
        if not self.exchange.over:
            raise frames.WireError("more files than credit")

    def file(self, payload: bytes, is_last: bool) -> None:
        """Take a piece of the answer's body that is in a file. Raises ``WireError``."""
        offset, count = frames.unpack_file(payload)
        window = self._receive_window
        if window is None:
            window = self._receive_window = ReceiveWindow()
        window.received(frames.FILE_COST)
        exchange = self.exchange
        if exchange.over:
            if not is_last:
                self._return_credit(frames.FILE_COST)
            return
        worker = self.worker
        if (self._spool is None or not self._spool.has_arrived) and worker is not None:
            # It was sent before this frame, on the other channel: there it is, if it was not read yet.
            worker.channel.receive_descriptors()
        if is_last:
            self.worker = None  # it wants no credit and no news of this stream any more
        spool = self._spool
        if spool is None or not spool.has_arrived:
            raise frames.WireError("a file without its descriptor")
        wrong = spool.append_file(offset, count)
        if wrong:
            exchange.fail(503, f"the file that is its answer can't be sent: {wrong}")
            if not is_last:
                self.client_gone()
        elif exchange.is_writable:
            self._send_waiting(spool)

    @property
    def _most_spooled(self) -> int:
        """How much of the answer is taken over from the worker ahead of the client."""
        if self.worker is not None and self.worker.interface == frames.ASGI:
            return min(ASGI_SPOOL_BYTES, self._pool.spool_bytes)
        return self._pool.spool_bytes

    def end_of_answer(self) -> None:
        """The application is done; what is spooled still goes to the client."""
        self._answer_is_whole = True
        self.worker = None
        if not self._spool and not self.exchange.over:
            self.exchange.finish()
        if self._send_window is not None:
            self._drop_rest()

    def on_writable(self) -> None:
        exchange = self.exchange
        spool = self._spool
        if spool is not None:
            if exchange.is_writable:
                self._send_waiting(spool)
            if exchange.over or len(spool) or not exchange.is_writable:
                return
            spool.rewind()
        if self._uncredited and exchange.is_writable:
            count, self._uncredited = self._uncredited, 0
            self._pool.give_time(self)
            self._return_credit(count)
        if self._answer_is_whole and not exchange.over:
            exchange.finish()

    def _send_waiting(self, spool: AnswerSpool) -> None:
        """Send what waits, as far as the client takes it; whatever was sent before has gone."""
        exchange = self.exchange
        while not exchange.over and exchange.is_writable:
            closed = spool.close_given()
            if closed:
                self._return_credit(closed * frames.FILE_COST)
            piece = spool.take_file(_FILE_PIECE)
            if piece is None:
                return
            exchange.send_file(*piece)

    def _return_credit(self, count: int) -> None:
        assert self._receive_window is not None
        credit = self._receive_window.consumed(count)
        if credit and self.worker is not None:
            self.worker.channel.send_control(frames.number_frame(frames.CREDIT, self.stream, credit))

    # The client leaves, the worker leaves.

    @property
    def waits_for_client(self) -> bool:
        """Is it the client that is slow, with the rest of its body or with taking the answer?"""
        if self._uncredited:
            return True
        body = self._body
        return self._send_window is not None and not self._body_is_whole and body is not None and not len(body)

    def client_gone(self) -> None:
        if self.worker is not None:
            self.worker.channel.send_control(frames.frame(frames.DISCONNECT, self.stream))
            if self._uncredited:
                count, self._uncredited = self._uncredited, 0
                self._return_credit(count)
        else:
            self._pool.forget(self)

    def client_half_closed(self) -> None:
        """It may well be waiting for its answer, so that is still sent; an ASGI application hears http.disconnect."""
        if self.worker is None:
            self.left_at = monotonic()
        elif self.worker.interface == frames.ASGI:
            self.worker.channel.send_control(frames.frame(frames.HALF_CLOSED, self.stream))

    def can_move(self, has_started: bool) -> bool:
        """May another worker run this call after this one died or gave it back?"""
        if self.has_answer:
            return False
        if not has_started:
            return self._head_blob != b"" or self._replayable is not None
        return not self.is_retry and self._head_blob != b"" and self.exchange.request.method in _IDEMPOTENT

    def take_back(self) -> None:
        """Undo ``start``."""
        if self._spool is not None:
            self._spool.close()  # a descriptor that came before the answer that never will
            self._spool = None
        self.worker = None
        self._send_window = None
        if self._body is not None and not self._body_is_whole:
            self.exchange.pause_body()


class HealthCall(AppCall):
    """A call of a health path: it has a lane of its own (``balance.queue``) and a place in each worker."""

    flags = RESERVED
    __slots__ = ()


def _check_lines(payload: bytes) -> None:
    if len(payload) > frames.MAX_LINES or not is_clean_block(payload):
        raise frames.WireError(f"unclean fields beside an answer: {payload[:200]!r}")
