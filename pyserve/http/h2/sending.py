"""Step 6 of the request path: what goes out on a connection of HTTP/2, and what that does to its streams. Pure.

Calls in, bytes out (``data_to_send``). The invariants: nothing beyond the client's windows; a body that nobody takes is
not credited, so it stays with the client (RFC 9113 §5.2); a stream that both sides have ended is forgotten.

HOT: ``send_encoded`` is nearly every answer (benchmarks/h2_files.py).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyserve.http.h2 import budget as prices
from pyserve.http.h2 import frames as f
from pyserve.http.h2.frames import pack_header
from pyserve.http.h2.hpack import EMPTY_TABLE, encode_block, encode_head
from pyserve.http.h2.priority import DEFAULT, Priority, parse_priority
from pyserve.http.h2.streams import LOCAL_CLOSED, REMOTE_CLOSED, RESET_BY_US, Stream

MAX_REMEMBERED_RESETS: Final = 256


class Settings(NamedTuple):
    """``max_head_bytes`` and ``max_headers`` are the ``BlockReader``'s."""

    max_concurrent_streams: int = 100
    initial_window: int = 128 * 1024
    """Bytes of one body that may be on their way or with us."""
    connection_window: int = 512 * 1024
    """The same of all bodies together."""
    enable_connect: bool = False
    """Say that Extended CONNECT is understood (RFC 8441)."""
    head_timeout_s: float = 10.0
    """From the first byte of a block of fields, or of a frame that is not DATA, to its last."""
    settings_timeout_s: float = 10.0
    write_timeout_s: float = 60.0
    """In each of these windows a client has to take something of an answer that it holds back by flow control."""
    min_rate_bytes: int = 500
    """A second, over ``write_timeout_s``; 0 = any progress is enough."""
    max_ignored_bytes: int = 64 * 1024
    """Of a body that nobody wants, until the client is told to stop."""
    farewell_s: float = 0.5
    """Between the end of an answer and the word that no more of the body is wanted: several clients that read both at
    once take the answer for lost."""
    linger_s: float = 10.0
    """The longest time that such a body is waited for behind the end of its answer."""
    budget: int = prices.BUDGET
    budget_per_s: int = prices.DRAIN_PER_S


class Sending:
    """Base of ``Connection``, which reads."""

    __slots__ = (
        "_blocked",
        "_credit",
        "_frame_bytes",
        "_goaway_last",
        "_granted",
        "_held",
        "_initial_send_window",
        "_is_closing",
        "_is_over",
        "_large",
        "_last",
        "_lingering",
        "_now",
        "_out",
        "_owes_table_update",
        "_paced",
        "_receive_window",
        "_reset",
        "_resets",
        "_send_window",
        "_served",
        "_settings",
        "_streams",
    )

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._now = now
        self._streams: dict[int, Stream] = {}
        self._last = 0  # the highest number that the client used
        self._large: dict[int, int] = {}  # bytes of those whose head is large
        self._held = 0  # of all of these
        self._reset = 0  # requests that were, by either side
        self._resets: dict[int, int] = {}  # how the latest of those that were reset were
        self._goaway_last = f.MAX_STREAM
        self._is_closing = self._is_over = False
        self._receive_window = settings.connection_window
        self._credit = 0
        self._send_window = self._granted = f.DEFAULT_WINDOW
        self._initial_send_window = f.DEFAULT_WINDOW
        self._frame_bytes = f.MIN_MAX_FRAME
        self._owes_table_update = False
        self._blocked: dict[int, Stream] = {}  # took less than they were offered, longest first
        self._paced: dict[int, Stream] = {}  # were blocked once
        self._served = 0
        self._lingering: dict[int, Stream] = {}  # were answered before the end of their body
        self._out: list[bytes] = []

    @property
    def _sent_bytes(self) -> int:
        """Of bodies: the windows know."""
        return self._granted - self._send_window

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def is_over(self) -> bool:
        """Did it fail, or was it aborted? Nothing is read any more."""
        return self._is_over

    def data_to_send(self) -> bytes:
        """Return everything that is to be written now, b"" = nothing."""
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    def send_answer(self, number: int, status: int, block: bytes, common: bytes, length: int, body: bytes) -> int:
        """Send a whole answer; return how many bytes of the body were taken, the rest is to come by ``send_data``.

        ``block``, ``common``: lower-case ``name: value\\r\\n`` lines that were checked; ``length``: Content-Length,
        -1 = none goes out.
        """
        return self.send_encoded(number, encode_head(status, block, common, length), body)

    def send_encoded(self, number: int, head: bytes, body: bytes) -> int:
        """The same with a head that ``hpack.encode_head`` has made, which may be kept and sent again, by anybody."""
        stream = self._streams.get(number)
        if stream is None:
            return 0
        size = len(body)
        if (
            size > stream.send_window
            or size > self._send_window
            or size > self._frame_bytes
            or len(head) > f.MIN_MAX_FRAME
            or stream.state != REMOTE_CLOSED
            or self._owes_table_update
        ):
            self._send_block(stream, head, not size)
            return self.send_data(number, body, True) if size else 0
        used = len(head)
        if size:
            self._send_window -= size
            self._out += (
                pack_header(used >> 8, used & 255, 1, 4, number),
                head,
                pack_header(size >> 8, size & 255, 0, 1, number),
                body,
            )
        else:
            self._out += (pack_header(used >> 8, used & 255, 1, 5, number), head)
        self._forget(number)
        return size

    def send_head(
        self, number: int, status: int, block: bytes, common: bytes = b"", length: int = -1, *, end_stream: bool = False
    ) -> None:
        """Send a head alone; before the final one there may be some with a status of 1xx."""
        stream = self._streams.get(number)
        if stream is not None and stream.state != LOCAL_CLOSED:
            self._send_block(stream, encode_head(status, block, common, length), end_stream)

    def send_trailers(self, number: int, block: bytes) -> None:
        """End an answer with fields; every byte of its body was taken before."""
        stream = self._streams.get(number)
        if stream is not None and stream.state != LOCAL_CLOSED:
            self._send_block(stream, encode_block(block), True)

    def _send_block(self, stream: Stream, block: bytes, is_end: bool) -> None:
        if self._owes_table_update:
            self._owes_table_update = False
            block = EMPTY_TABLE + block
        flags = f.END_STREAM if is_end else 0
        if len(block) <= f.MIN_MAX_FRAME:
            self._out.append(f.frame(f.HEADERS, flags | f.END_HEADERS, stream.number, block))
        else:
            kind = f.HEADERS
            for at in range(0, len(block), f.MIN_MAX_FRAME):
                if at + f.MIN_MAX_FRAME >= len(block):
                    flags |= f.END_HEADERS
                self._out.append(f.frame(kind, flags, stream.number, block[at : at + f.MIN_MAX_FRAME]))
                kind, flags = f.CONTINUATION, 0
        if is_end:
            self._end_answer(stream)

    def send_data(self, number: int, data: bytes, end: bool) -> int:
        """Send as much of ``data`` as the windows have room for; return how much that is.

        ``end``: the answer ends with its last byte. If less was taken, ``RoomMade`` says when to offer the rest.
        """
        stream = self._streams.get(number)
        if stream is None or stream.state == LOCAL_CLOSED:
            return 0
        size = len(data)
        room = min(stream.send_window, self._send_window)
        taken = size if size <= room else max(room, 0)
        at = 0
        most = self._frame_bytes
        while taken - at > most:
            self._out += (pack_header(most >> 8, most & 255, 0, 0, number), data[at : at + most])
            at += most
        is_end = end and taken == size
        if taken > at or is_end:
            left = taken - at
            piece = data if left == size else data[at:taken]
            self._out += (pack_header(left >> 8, left & 255, 0, 1 if is_end else 0, number), piece)
        stream.send_window -= taken
        self._send_window -= taken
        if taken and number in self._paced:
            stream.pace_bytes += taken
            self._served += 1
            stream.served = self._served
        if is_end:
            self._end_answer(stream)
        elif taken < size:
            self._block(stream, bool(taken))
        return taken

    def _block(self, stream: Stream, was_served: bool) -> None:
        """Let ``RoomMade`` be told; meanwhile the client is watched."""
        if not stream.is_blocked:
            stream.is_blocked = True
            self._blocked[stream.number] = stream
            if stream.number not in self._paced:
                self._paced[stream.number] = stream
                stream.pace_ends = self._now + self._settings.write_timeout_s
                stream.pace_bytes = 0
                self._served += 1
                stream.served = self._served if was_served else 0

    def room(self, number: int) -> int:
        """Return how many bytes ``send_data`` would take; where it is none, ``RoomMade`` says when there is some."""
        stream = self._streams.get(number)
        if stream is None or stream.state == LOCAL_CLOSED:
            return 0
        room = min(stream.send_window, self._send_window)
        if room <= 0:
            self._block(stream, was_served=False)
            return 0
        return room

    def priority(self, number: int) -> Priority:
        """Return what the client last said of this answer, in its request or later (RFC 9218)."""
        stream = self._streams.get(number)
        return DEFAULT if stream is None else priority_of(stream)

    def ignore_body(self, number: int) -> None:
        """Nobody wants this body: no more of it is told, but its end."""
        stream = self._streams.get(number)
        if stream is not None and stream.state != REMOTE_CLOSED:
            stream.is_ignored = True
            self.return_credit(number, self._settings.initial_window - stream.receive_window - stream.credit)

    def return_credit(self, number: int, count: int) -> None:
        """So many bytes of a stream's body were taken: the client may send as many more.

        Collected: a WINDOW_UPDATE goes out at half a window. What was not returned of a stream that is over returns
        by itself.
        """
        stream = self._streams.get(number)
        if stream is None or not stream.has_body:
            return
        window = self._settings.initial_window
        count = min(count, window - stream.receive_window - stream.credit)
        stream.credit += count
        self._return_to_connection(count)
        if stream.credit * 2 >= window and stream.state != REMOTE_CLOSED:
            self._out.append(f.window_update(number, stream.credit))
            stream.receive_window += stream.credit
            stream.credit = 0

    def _return_to_connection(self, count: int) -> None:
        self._credit += count
        if self._credit * 2 >= self._settings.connection_window:
            self._out.append(f.window_update(0, self._credit))
            self._receive_window += self._credit
            self._credit = 0

    def reset(self, number: int, code: int) -> None:
        """End a stream at once."""
        if number in self._streams:
            self._out.append(f.rst_stream(number, code))
            self._reset += 1
            self._forget(number)
            self._note_reset(number, RESET_BY_US)

    def close(self) -> None:
        """Take no new requests: the first call asks the client to send none, the second drops what comes (§6.8).

        Between them should be a round trip, for what was on its way.
        """
        if self._is_over:
            return
        if not self._is_closing:
            self._is_closing = True
            self._out.append(f.goaway(f.MAX_STREAM, f.NO_ERROR))
        elif self._goaway_last == f.MAX_STREAM:
            self._goaway_last = self._last
            self._out.append(f.goaway(self._last, f.NO_ERROR))

    def _end_answer(self, stream: Stream) -> None:
        """Our side is over. A body that is still coming is ignored, for a while."""
        if stream.state == REMOTE_CLOSED:
            self._forget(stream.number)
            return
        stream.state = LOCAL_CLOSED
        settings = self._settings
        is_too_much = stream.received > settings.max_ignored_bytes
        stream.linger_ends = self._now + (settings.farewell_s if is_too_much else settings.linger_s)
        self._lingering[stream.number] = stream
        if stream.is_blocked:
            stream.is_blocked = False
            del self._blocked[stream.number]
        if not stream.is_ignored:
            self.ignore_body(stream.number)

    def _forget(self, number: int) -> None:
        stream = self._streams.pop(number)
        if self._large:
            self._held -= self._large.pop(number, 0)
        if self._blocked:
            self._blocked.pop(number, None)
        if self._paced:
            self._paced.pop(number, None)
        if self._lingering:
            self._lingering.pop(number, None)
        if stream.has_body:
            self._return_to_connection(self._settings.initial_window - stream.receive_window - stream.credit)

    def _note_reset(self, number: int, state: int) -> None:
        self._resets[number] = state
        if len(self._resets) > MAX_REMEMBERED_RESETS:
            del self._resets[next(iter(self._resets))]


def priority_of(stream: Stream) -> Priority:
    if stream.update is not None:
        return stream.update
    request = stream.request
    if request is None:
        return DEFAULT
    known = request.rest_memo.get("priority")
    if known is None:
        value = request.joined(b"priority")
        known = request.rest_memo["priority"] = DEFAULT if value is None else parse_priority(value)
    return known
