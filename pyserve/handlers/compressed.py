"""Step 6 of the request path: an exchange whose answer is compressed on its way to a client that can read that.

I/O: none of its own; what takes long is done in helper threads. It stands between a handler and the transport's
exchange, so both see nothing but an exchange. Not for answers with secrets in them: whoever can make a client ask for
pages with text of theirs, and see how long the answers are, can guess a secret beside that text (BREACH). So it is off
until the operator asks for it.

Coded is what has a type on the list and ``min`` bytes or more, or an unknown length; never a part (206, Content-Range),
what is coded already, or what must not be transformed (RFC 9110 §7.7). A whole answer that would grow goes out as it
is. A strong ETag becomes weak, so ``If-Match`` with it fails (RFC 9110 §13.1.1): an application that wants it back
gives its answers ``Cache-Control: no-transform``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from pyserve.config import model
from pyserve.handlers.coded_stream import CodedStream
from pyserve.handlers.interface import Exchange, Lent, Receiver, Same, Threads
from pyserve.http.coded_fields import Variants, coded_trailers, not_modified, variants
from pyserve.http.codings import compress_fast
from pyserve.http.negotiation import choose
from pyserve.http.response import has_no_body

INLINE_BYTES = 8 * 1024
"""So much is compressed at once: 31 to 77 µs, no more than a thread costs."""
MOST_STREAMS = 256
"""So many answers of a front are compressed piece by piece at once; more go out as they are. Each has an encoder of up
to 0.9 MiB for as long as its client takes, and whoever wants to use up memory takes long."""
_MOST_KNOWN = 256
_MOST_KEY_BYTES = 512


class Streams:
    """How many answers are being compressed piece by piece: one for all routes of a front."""

    __slots__ = ("count", "most")

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self.count = 0
        self.most = most


class Compression:
    """What a route compresses, with what it remembers of requests and answers: one for all its exchanges."""

    __slots__ = ("_codings", "_known", "configured", "streams", "threads")

    def __init__(self, configured: model.Compress, threads: Threads, streams: Streams) -> None:
        self.configured = configured
        self.threads = threads
        self.streams = streams
        self._codings = tuple(coding.encode() for coding in configured.codings)
        self._known: dict[bytes, Variants] = {}

    def around(self, exchange: Exchange) -> Exchange:
        """Return the exchange that a handler answers instead; before it attaches anything."""
        return CompressedExchange(exchange, self, self._choose(exchange))

    def _choose(self, exchange: Exchange) -> bytes | None:
        return choose(exchange.request.joined(b"accept-encoding"), self._codings)

    def variants(self, block: bytes) -> Variants:
        known = self._known.get(block)
        if known is None:
            known = variants(block, self.configured)
            if len(block) <= _MOST_KEY_BYTES:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[block] = known
        return known


class CompressedExchange:
    """``over`` as the exchange inside; callbacks of ``at_end`` wait until no thread reads a file of theirs any more."""

    __slots__ = (
        "_callbacks",
        "_coding",
        "_compression",
        "_exchange",
        "_has_answer",
        "_has_ended",
        "_is_bodyless",
        "_left",
        "_receiver",
        "_stream",
        "modifiers",
        "over",
        "request",
    )

    def __init__(self, exchange: Exchange, compression: Compression, coding: bytes | None) -> None:
        self.request = exchange.request
        self.modifiers = exchange.modifiers
        self.over = False
        self._exchange = exchange
        self._compression = compression
        self._coding = coding
        self._receiver: Receiver | None = None
        self._stream: CodedStream | None = None
        self._left = -1  # bytes that the handler has promised and not sent; -1 = any number
        self._has_answer = False  # whole, or its head
        self._has_ended = False  # the handler has nothing more to say
        self._is_bodyless = False  # a coded answer of which only the head goes out
        self._callbacks: list[Callable[[], None]] = []
        exchange.attach(self)
        exchange.at_end(self._is_over)

    @property
    def started(self) -> float:
        return self._exchange.started

    @property
    def peer_blob(self) -> bytes:
        return self._exchange.peer_blob

    # The request, and what becomes of the client: passed on.

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def want_body(self) -> None:
        self._exchange.want_body()

    def pause_body(self) -> None:
        self._exchange.pause_body()

    def resume_body(self) -> None:
        self._exchange.resume_body()

    def body_data(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.body_data(data)

    def body_end(self) -> None:
        if self._receiver is not None:
            self._receiver.body_end()

    def client_half_closed(self) -> None:
        if self._receiver is not None:
            self._receiver.client_half_closed()

    def client_gone(self) -> None:
        if self._receiver is not None:
            self._receiver.client_gone()

    def on_writable(self) -> None:
        if self._stream is not None:
            self._stream.go_on()
        self._has_room()

    def _has_room(self) -> None:
        if self._receiver is not None and not self._has_ended and self.is_writable:
            self._receiver.on_writable()

    # The answer.

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if self._has_answer or self.over:
            return
        self._has_answer = self._has_ended = True
        exchange = self._exchange
        plain, coded = self._variants(status, block, len(body))
        if coded is None:
            exchange.send(status, plain, body, flags, same)
        elif self.request.method == "HEAD":
            exchange.send_head(status, coded, None, flags)
            exchange.finish()
        else:
            assert self._coding is not None

            def send(smaller: bytes | None, error: BaseException | None) -> None:
                if self.over:
                    return
                if smaller is None:
                    exchange.modifiers = self.modifiers
                    exchange.fail(500, f"the answer can't be compressed: {error!r}")
                elif len(smaller) < len(body):
                    exchange.send(status, coded, smaller, flags, same)
                else:
                    exchange.send(status, plain, body, flags, same)

            work = functools.partial(compress_fast, self._coding, body)
            if len(body) > INLINE_BYTES:
                self._compression.threads.run(work, send)
                return
            try:
                smaller = work()
            except Exception as error:
                send(None, error)
            else:
                send(smaller, None)

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if self._has_answer or self.over:
            return
        self._has_answer = True
        exchange = self._exchange
        compression = self._compression
        streams = compression.streams
        plain, coded = self._variants(status, block, length)
        if coded is None or streams.count >= streams.most:
            exchange.send_head(status, plain, length, flags)
            return
        assert self._coding is not None
        exchange.send_head(status, coded, None, flags)
        if self.request.method == "HEAD":
            self._is_bodyless = True
            return
        streams.count += 1
        self._left = -1 if length is None else length
        self._stream = CodedStream(self._coding, exchange, compression.threads, self._has_room, self._call_if_over)

    def _variants(self, status: int, block: bytes, length: int | None) -> Variants:
        """Return the blocks of this very answer: coded only if it is to be coded, and then with the coding's line."""
        modifiers = self.modifiers
        if modifiers.dropped:
            # The config's own lines are looked at too (Vary, Cache-Control, ETag), and written here instead of later.
            block = modifiers.strip(block) + modifiers.lines
            self._exchange.modifiers = modifiers.without_lines()
        compression = self._compression
        if status == 304:
            return Variants(not_modified(block, compression.configured, self.request.field(b"if-none-match")), None)
        plain, coded = compression.variants(block)
        if (
            coded is None
            or self._coding is None
            or (length is not None and length < compression.configured.min_bytes)
            or status in (205, 206)
            or has_no_body(status)
        ):
            return Variants(plain, None)
        return Variants(plain, b"%bcontent-encoding: %b\r\n" % (coded, self._coding))

    def hint(self) -> None:
        self._exchange.hint()

    def send_hints(self, block: bytes) -> None:
        self._exchange.send_hints(block)

    def send_trailers(self, block: bytes) -> None:
        if self.modifiers.dropped:
            block = self.modifiers.strip(block)
        self._exchange.send_trailers(block if self._stream is None else coded_trailers(block))

    def flush_soon(self) -> None:
        self._exchange.flush_soon()

    def send_data(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:
            if not self._is_bodyless:
                self._exchange.send_data(data)
            return
        if self.over or self._has_ended:
            return
        if self._left >= 0:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            stream.append(data)

    def send_file(self, fd: int, offset: int, count: int) -> None:
        stream = self._stream
        if stream is None:
            if not self._is_bodyless:
                self._exchange.send_file(fd, offset, count)
            return
        if self.over or self._has_ended:
            return
        if self._left >= 0:
            count = min(count, self._left)
            self._left -= count
        if count:
            stream.append_file(fd, offset, count)

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        if self._has_answer or self.over:
            return
        lent.retain()
        self.at_end(lent.release)
        self.send_head(status, block, count)
        self.send_file(lent.fd, offset, count)
        self.finish()

    @property
    def is_writable(self) -> bool:
        stream = self._stream
        return self._exchange.is_writable and (stream is None or stream.has_room)

    def finish(self) -> None:
        if self._has_ended or self.over:
            return
        self._has_ended = True
        if self._stream is None:
            self._exchange.finish()
        elif self._left > 0:  # a client must never take a short answer for a whole one
            self._exchange.abort()
        else:
            self._stream.end()

    def fail(self, status: int, reason: str, block: bytes = b"") -> str:
        self._has_answer = self._has_ended = True
        return self._exchange.fail(status, reason, block)

    def abort(self) -> None:
        self._has_answer = self._has_ended = True
        self._exchange.abort()

    # The end.

    def at_end(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)
        self._call_if_over()

    def _is_over(self) -> None:
        self.over = True
        if self._has_ended:
            self._receiver = None  # it knows this exchange: what is no cycle is freed at once
        if self._stream is not None:
            self._compression.streams.count -= 1
        self._call_if_over()

    def _call_if_over(self) -> None:
        if self.over and (self._stream is None or not self._stream.is_running):
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()
