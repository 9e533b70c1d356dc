"""Step 4 of the request path: what comes on a connection of HTTP/2 (RFC 9113), the server's side. Pure.

Bytes in, events out; calls in, bytes out; time is passed in. ``streams`` says what a frame means in which state,
``heads`` what a block means. What it holds is bounded: one incomplete frame or block of fields, what fits the windows,
``max_concurrent_streams`` streams; whatever a client may do again and again has a price (``budget``). No client's fault
leaves it as an exception.

HOT: ``receive_data`` to ``send_encoded`` is every request (benchmarks/http2_machine.py).
"""

from __future__ import annotations

from typing import Final

from pyserve.errors import RequestError
from pyserve.http.h2 import budget as prices
from pyserve.http.h2 import frames as f
from pyserve.http.h2.budget import Budget
from pyserve.http.h2.events import (
    BodyReceived,
    ConnectionFailed,
    Event,
    GoawayReceived,
    MessageEnded,
    RequestReceived,
    RequestRefused,
    RoomMade,
    StreamBroken,
    StreamReset,
)
from pyserve.http.h2.faults import ConnectionFault, StreamFault
from pyserve.http.h2.frames import unpack_header
from pyserve.http.h2.heads import BlockReader
from pyserve.http.h2.priority import Priority, parse_priority
from pyserve.http.h2.sending import Sending, Settings, priority_of
from pyserve.http.h2.streams import (
    CLOSED,
    IDLE,
    LOCAL_CLOSED,
    OPEN,
    REMOTE_CLOSED,
    RESET_BY_CLIENT,
    RESET_BY_US,
    RULES,
    SKIP,
    Stream,
)

MAX_FRAME: Final = f.MIN_MAX_FRAME
"""Of the client's frames: the default, which every client sends within."""
MAX_SENT_FRAME: Final = 64 * 1024
"""Of ours, where the client lets us: a large one keeps other streams waiting."""
MAX_CONTINUATIONS: Final = 32
MAX_HELD_HEAD_BYTES: Final = 640 * 1024
"""Of requests under way, but for small ones (``heads.BlockReader.read``); with those it is less than a mebibyte."""
MAX_REMEMBERED_GAPS: Final = 64


class Connection(Sending):
    """Feed it with ``receive_data`` and ``sweep``, write what ``data_to_send`` has at the end of each turn.

    What is said about a stream that is over, by whichever side, is dropped: a client may reset it at any time.
    """

    __slots__ = (
        "_asked",
        "_block_flags",
        "_block_since",
        "_block_size",
        "_blocks",
        "_budget",
        "_buffer",
        "_done",
        "_early_updates",
        "_expects",
        "_fragments",
        "_gaps",
        "_max_streams",
        "_partial_since",
        "_pings",
        "_settings_due",
        "_started",
        "_table",
        "_updates",
    )

    def __init__(self, settings: Settings, blocks: BlockReader, now: float) -> None:
        super().__init__(settings, now)
        self._started = now
        self._blocks = blocks
        self._table = blocks.empty
        self._budget = Budget(settings.budget, settings.budget_per_s, now)
        self._max_streams = settings.max_concurrent_streams
        self._asked = 0  # streams that were requests
        self._done = 0  # the others that are over, when that was last looked at
        self._gaps: list[range] = []  # numbers that were passed over
        self._buffer = b""
        self._expects = -2  # the only type of frame that may come; -1 = any, -2 = the preface
        self._fragments: list[bytes] = []
        self._block_flags = self._block_size = 0
        self._block_since = self._partial_since = 0.0
        self._updates = self._pings = 0  # WINDOW_UPDATEs and PINGs that came
        self._early_updates: dict[int, Priority] = {}
        self._settings_due = now + settings.settings_timeout_s
        values = {
            f.MAX_CONCURRENT_STREAMS: settings.max_concurrent_streams,
            f.INITIAL_WINDOW_SIZE: settings.initial_window,
            f.MAX_HEADER_LIST_SIZE: blocks.max_head_bytes,
        }
        if settings.enable_connect:
            values[f.ENABLE_CONNECT_PROTOCOL] = 1
        values[f.NO_RFC7540_PRIORITIES] = 1
        self._out.append(f.settings(values))
        if settings.connection_window > f.DEFAULT_WINDOW:
            self._out.append(f.window_update(0, settings.connection_window - f.DEFAULT_WINDOW))
        else:
            self._receive_window = f.DEFAULT_WINDOW  # it can't begin smaller

    def incomplete_body(self) -> tuple[int, int]:
        """Return the stream and the bytes so far of a DATA frame that is on its way; (0, 0) = there is none.

        ``BodyReceived`` is told of whole frames: who times a body sees here that it is coming.
        """
        buffer = self._buffer
        if len(buffer) < 9 or buffer[3] != f.DATA or self._expects != -1:
            return 0, 0
        return int.from_bytes(buffer[5:9], "big") & f.MAX_STREAM, len(buffer) - 9

    # What came.

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Return what the bytes mean, in order. After ``ConnectionFailed`` there is nothing more."""
        events: list[Event] = []
        self._now = now
        if self._is_over:
            return events
        if self._buffer:
            data = self._buffer + data
        try:
            at = self._read_frames(data, events)
        except ConnectionFault as fault:
            self._fail(fault, events)
            return events
        if at == len(data):
            self._buffer = b""
        else:
            if at or not self._buffer:
                self._partial_since = now
            self._buffer = data[at:]
        return events

    def sweep(self, now: float) -> list[Event]:
        """Let time pass: to be called a few times a second."""
        events: list[Event] = []
        self._now = now
        if self._is_over:
            return events
        done = self._asked - len(self._streams) - self._reset
        self._budget.drain(now, prices.EARNED_PER_ANSWER * (done - self._done))
        self._done = done
        try:
            self._check_deadlines(now)
            for stream in list(self._paced.values()):
                if now >= stream.pace_ends:
                    self._check_pace(stream, now, events)
            for stream in list(self._lingering.values()):
                if now >= stream.linger_ends:
                    self.reset(stream.number, f.NO_ERROR)
        except ConnectionFault as fault:
            self._fail(fault, events)
        return events

    def _check_deadlines(self, now: float) -> None:
        timeout_s = self._settings.head_timeout_s
        if self._expects == -2 or self._expects == f.SETTINGS:
            if now >= self._started + timeout_s:
                raise ConnectionFault(f.PROTOCOL_ERROR, "no preface in time")
        elif self._expects == f.CONTINUATION and now >= self._block_since + timeout_s:
            raise ConnectionFault(f.ENHANCE_YOUR_CALM, "a block of fields that does not end in time")
        # How long a body may take is for the front to say: it sees the bytes.
        if self._buffer and self._buffer[3:4] != b"\0" and now >= self._partial_since + timeout_s:
            raise ConnectionFault(f.ENHANCE_YOUR_CALM, "a frame that does not end in time")
        if self._settings_due and now >= self._settings_due and self._expects >= -1:
            raise ConnectionFault(f.SETTINGS_TIMEOUT, "SETTINGS not acknowledged")

    def _check_pace(self, stream: Stream, now: float, events: list[Event]) -> None:
        """Break a stream whose client holds its answer back, or begin the next window."""
        settings = self._settings
        least = max(1, int(settings.min_rate_bytes * settings.write_timeout_s))
        if stream.is_blocked and stream.pace_bytes < least:
            self._break(stream.number, f.CANCEL, "the client takes too little of its answer", events, points=0)
        elif stream.is_blocked:
            stream.pace_ends = now + settings.write_timeout_s
            stream.pace_bytes = 0
        else:
            del self._paced[stream.number]

    def _read_frames(self, data: bytes, events: list[Event]) -> int:
        """Take whole frames; return where the first incomplete one begins. Raises ``ConnectionFault``."""
        at = 0
        if self._expects == -2:
            if not data.startswith(f.PREFACE):
                if f.PREFACE.startswith(data):
                    return 0
                raise ConnectionFault(f.PROTOCOL_ERROR, "no preface of HTTP/2")
            at = len(f.PREFACE)
            self._expects = f.SETTINGS
        size = len(data)
        while size - at >= 9:
            high, low, kind, flags, number = unpack_header(data, at)
            start = at + 9
            end = start + (high << 8 | low)
            if end - start > MAX_FRAME:
                raise ConnectionFault(f.FRAME_SIZE_ERROR, "a frame larger than was allowed")
            if self._expects != -1 and kind != self._expects:
                raise ConnectionFault(f.PROTOCOL_ERROR, "another frame where SETTINGS or CONTINUATION has to come")
            if end > size:
                break
            at = end
            if kind == f.HEADERS:
                number &= f.MAX_STREAM
                if flags & (f.PADDED | f.HAS_PRIORITY):
                    self._receive_long_head(number, flags, data[start:end], events)
                elif flags & f.END_HEADERS:
                    self._receive_block(number, data[start:end], bool(flags & f.END_STREAM), events)
                else:
                    self._begin_block(number, flags, data[start:end])
            elif kind == f.DATA:
                self._receive_body(number & f.MAX_STREAM, flags, data, start, end, events)
            else:
                self._receive_other(kind, flags, number & f.MAX_STREAM, data[start:end], events)
            if self._is_over:
                break
        return at

    # Heads.

    def _receive_long_head(self, number: int, flags: int, payload: bytes, events: list[Event]) -> None:
        """HEADERS with padding or a priority of RFC 7540 (which counts for nothing)."""
        depends_on = -1
        padding = 0
        if flags & f.PADDED:
            padding = payload[0] if payload else 0
            payload = payload[1:]
        if flags & f.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(f.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            depends_on = int.from_bytes(payload[:4], "big") & f.MAX_STREAM
            payload = payload[5:]
        if padding > len(payload):
            raise ConnectionFault(f.PROTOCOL_ERROR, "more padding than payload")
        if padding:
            payload = payload[:-padding]
            if padding > len(payload):
                self._charge(prices.PADDING)
        if not flags & f.END_HEADERS:
            if depends_on == number:
                raise ConnectionFault(f.PROTOCOL_ERROR, "a stream that depends on itself")
            self._begin_block(number, flags, payload)
            return
        self._receive_block(number, payload, bool(flags & f.END_STREAM), events, depends_on)

    def _begin_block(self, number: int, flags: int, fragment: bytes) -> None:
        _check_number(number)
        self._expects = f.CONTINUATION
        self._fragments = [number.to_bytes(4, "big"), fragment]
        self._block_flags = flags
        self._block_size = len(fragment)
        self._block_since = self._now

    def _receive_continuation(self, number: int, flags: int, payload: bytes, events: list[Event]) -> None:
        fragments = self._fragments
        if not fragments or number != int.from_bytes(fragments[0], "big"):
            raise ConnectionFault(f.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._charge(prices.CONTINUATION if payload else prices.EMPTY_CONTINUATION)
        self._block_size += len(payload)
        # Somewhat too long is a request that gets its 431, and the table has to see it.
        if self._block_size > 2 * self._blocks.max_head_bytes or len(fragments) > MAX_CONTINUATIONS:
            raise ConnectionFault(f.ENHANCE_YOUR_CALM, "a block of too many bytes or frames")
        fragments.append(payload)
        if flags & f.END_HEADERS:
            self._fragments = []
            self._expects = -1
            self._receive_block(number, b"".join(fragments[1:]), bool(self._block_flags & f.END_STREAM), events)

    def _receive_block(
        self, number: int, block: bytes, is_end: bool, events: list[Event], depends_on: int = -1
    ) -> None:
        """A whole block of fields: a request, or trailers."""
        if number <= self._last or not number & 1:
            self._receive_late_block(number, block, is_end, events)
            return
        table = self._table
        request = table.blocks.get(block) if is_end else None
        held = 0
        if request is None:
            read, self._table, held = self._blocks.read(table, block, is_end)
            if self._table.max_size != table.max_size:
                self._charge(prices.TABLE_SIZE_UPDATE)
            if number > self._goaway_last:
                return  # behind our GOAWAY: the client asks again elsewhere
        elif number > self._goaway_last:
            return
        else:
            read = request
        if number != self._last + 2 and number != 1:
            self._note_gap(number)
        self._last = number
        if len(self._streams) >= self._max_streams or self._held + held > MAX_HELD_HEAD_BYTES:
            self._charge(prices.REFUSED_STREAM)
            self._out.append(f.rst_stream(number, f.REFUSED_STREAM))
            self._note_reset(number, RESET_BY_US)
            return
        if depends_on == number:
            read = StreamFault(f.PROTOCOL_ERROR, "a stream that depends on itself")
        if isinstance(read, StreamFault):
            self._break(number, read.code, read.reason, events)
            return
        if isinstance(read, RequestError):
            stream = Stream(number, None, self._initial_send_window)
        else:
            stream = Stream(number, read, self._initial_send_window)
        self._streams[number] = stream
        self._asked += 1
        if held:
            self._held += held
            self._large[number] = held
        if not is_end:
            stream.state = OPEN
            stream.has_body = True
            stream.receive_window = self._settings.initial_window
            stream.received = stream.credit = 0
            stream.is_ignored = False
        if self._early_updates:
            stream.update = self._early_updates.pop(number, None)
        if isinstance(read, RequestError):
            if read.status == 431:
                self._charge(prices.REFUSED_HEAD)
            if not is_end:
                self.ignore_body(number)
            events.append(RequestRefused(number, read.status, read.reason))
            return
        events.append(RequestReceived(number, read, is_end))

    def _receive_late_block(self, number: int, block: bytes, is_end: bool, events: list[Event]) -> None:
        """A block on a stream that was there before: trailers, or a fault. It is read in any case, for the table."""
        _check_number(number)
        stream = self._streams.get(number)
        if stream is None and any(number in gap for gap in self._gaps):
            raise ConnectionFault(f.PROTOCOL_ERROR, "a number smaller than one before it")
        trailers, self._table = self._blocks.read_trailers(self._table, block)
        verdict = self._verdict(f.HEADERS, number, stream, events)
        if stream is None or verdict is SKIP:
            return
        if not is_end:
            self._break(number, f.PROTOCOL_ERROR, "trailers that are not the end", events)
        elif isinstance(trailers, StreamFault):
            self._break(number, trailers.code, trailers.reason, events)
        else:
            self._end_message(stream, trailers, events)

    def _verdict(self, kind: int, number: int, stream: Stream | None, events: list[Event]) -> tuple[str, int]:
        """Return TAKE or SKIP; raise ``ConnectionFault``. A stream that the frame breaks is broken, and skipped."""
        verdict = RULES[kind][self._state_of(number, stream)]
        if verdict[0] == "connection":
            raise ConnectionFault(verdict[1], "a frame on a stream that is not open")
        if verdict[0] == "stream":
            self._break(number, verdict[1], "a frame behind the end of the stream", events)
            return SKIP
        return verdict

    def _state_of(self, number: int, stream: Stream | None) -> int:
        if stream is not None:
            return stream.state
        if number > self._last or not number & 1:
            return IDLE if number <= self._goaway_last else RESET_BY_US
        return self._resets.get(number, CLOSED)

    # Bodies.

    def _receive_body(self, number: int, flags: int, data: bytes, start: int, end: int, events: list[Event]) -> None:
        cost = end - start
        if not number:
            raise ConnectionFault(f.PROTOCOL_ERROR, "DATA on stream 0")
        self._receive_window -= cost
        if self._receive_window < 0:
            raise ConnectionFault(f.FLOW_CONTROL_ERROR, "more data than the connection's window has room for")
        if flags & f.PADDED:
            if not cost or data[start] >= cost:
                raise ConnectionFault(f.PROTOCOL_ERROR, "more padding than payload")
            end -= data[start]
            start += 1
            if end - start < cost // 2:
                self._charge(prices.PADDING)
        stream = self._streams.get(number)
        if stream is None or stream.state == REMOTE_CLOSED:
            self._return_to_connection(cost)
            self._verdict(f.DATA, number, stream, events)
            self._charge(prices.UNKNOWN_FRAME)
            return
        size = end - start
        is_end = flags & f.END_STREAM
        if not is_end and size < prices.SMALL_DATA_BYTES:
            if size >= prices.TINY_DATA_BYTES:
                if stream.request is None or not stream.request.protocol:
                    self._charge(prices.SMALL_DATA)
            else:
                self._charge(prices.TINY_DATA if size else prices.EMPTY_DATA)
        stream.receive_window -= cost
        if stream.receive_window < 0:
            self._break(number, f.FLOW_CONTROL_ERROR, "more data than the stream's window has room for", events)
            return
        stream.received += size
        length = stream.request.content_length if stream.request is not None else None
        if length is not None and (stream.received > length or (is_end and stream.received != length)):
            self._break(number, f.PROTOCOL_ERROR, "content that is not as long as content-length says", events)
            return
        if stream.is_ignored:
            self._ignore(stream, cost)
        else:
            if cost > size:
                self.return_credit(number, cost - size)
            if size:
                events.append(BodyReceived(number, data[start:end]))
        if is_end:
            self._end_message(stream, (), events)

    def _end_message(self, stream: Stream, trailers: tuple[tuple[bytes, bytes], ...], events: list[Event]) -> None:
        request = stream.request
        if request is not None and request.content_length is not None and stream.received != request.content_length:
            self._break(stream.number, f.PROTOCOL_ERROR, "content that is not as long as content-length says", events)
        elif stream.state == LOCAL_CLOSED:
            self._forget(stream.number)
        else:
            stream.state = REMOTE_CLOSED
            if request is not None:
                events.append(MessageEnded(stream.number, trailers))

    def _ignore(self, stream: Stream, cost: int) -> None:
        """Give room for a body that nobody wants, up to a limit; behind its answer the client is told to stop."""
        if stream.received <= self._settings.max_ignored_bytes:
            self.return_credit(stream.number, cost)
        elif stream.state == LOCAL_CLOSED:
            stream.linger_ends = min(stream.linger_ends, self._now + self._settings.farewell_s)

    # Frames that are neither.

    def _receive_other(self, kind: int, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if kind == f.WINDOW_UPDATE:
            self._receive_window_update(number, payload, events)
        elif kind == f.RST_STREAM:
            self._receive_reset(number, payload, events)
        elif kind == f.SETTINGS:
            self._receive_settings(number, flags, payload, events)
        elif kind == f.PING:
            self._receive_ping(number, flags, payload)
        elif kind == f.CONTINUATION:
            self._receive_continuation(number, flags, payload, events)
        elif kind == f.PRIORITY:
            self._receive_priority(number, payload, events)
        elif kind == f.PRIORITY_UPDATE:
            self._receive_priority_update(number, payload)
        elif kind == f.GOAWAY:
            if number:
                raise ConnectionFault(f.PROTOCOL_ERROR, "GOAWAY on a stream")
            if len(payload) < 8:
                raise ConnectionFault(f.FRAME_SIZE_ERROR, "GOAWAY too short")
            self._charge(prices.SETTINGS)
            events.append(GoawayReceived(int.from_bytes(payload[4:8], "big"), payload[8:]))
        elif kind == f.PUSH_PROMISE:
            raise ConnectionFault(f.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        else:
            self._charge(prices.UNKNOWN_FRAME)  # RFC 9113 §4.1, §5.5: of no meaning to us

    def _receive_window_update(self, number: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionFault(f.FRAME_SIZE_ERROR, "WINDOW_UPDATE of another size")
        increment = int.from_bytes(payload, "big") & f.MAX_WINDOW
        self._updates += 1
        free = prices.FREE_WINDOW_UPDATES + prices.WINDOW_UPDATES_PER_REQUEST * self._asked
        if self._updates > free + self._sent_bytes // prices.BYTES_PER_WINDOW_UPDATE:
            self._charge(prices.WINDOW_UPDATE)
        if not number:
            if not increment:
                raise ConnectionFault(f.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._send_window += increment
            self._granted += increment
            if self._send_window > f.MAX_WINDOW:
                raise ConnectionFault(f.FLOW_CONTROL_ERROR, "the connection's window is too large")
            if self._blocked:
                self._tell_room(events)
            return
        stream = self._streams.get(number)
        self._verdict(f.WINDOW_UPDATE, number, stream, events)
        if stream is None:
            return
        stream.send_window += increment
        if not increment:
            self._break(number, f.PROTOCOL_ERROR, "WINDOW_UPDATE of 0", events)
        elif stream.send_window > f.MAX_WINDOW:
            self._break(number, f.FLOW_CONTROL_ERROR, "the stream's window is too large", events)
        elif stream.is_blocked and stream.send_window > 0 and self._send_window > 0:
            stream.is_blocked = False
            del self._blocked[number]
            events.append(RoomMade(number))

    def _tell_room(self, events: list[Event]) -> None:
        """Windows were opened: say so of all streams that can go on, the most urgent first (RFC 9218 §10).

        Of equal urgency those that are of no use in parts go in order of their numbers, then the others, who had none
        for longest first.
        """
        if self._send_window <= 0:
            return
        ready = [stream for stream in self._blocked.values() if stream.send_window > 0]
        if len(ready) > 1:
            ready.sort(key=self._rank)
        for stream in ready:
            stream.is_blocked = False
            del self._blocked[stream.number]
            events.append(RoomMade(stream.number))

    def _rank(self, stream: Stream) -> tuple[int, bool, int]:
        urgency, is_incremental = priority_of(stream)
        return urgency, is_incremental, stream.served if is_incremental else stream.number

    def _receive_reset(self, number: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionFault(f.FRAME_SIZE_ERROR, "RST_STREAM of another size")
        if not number:
            raise ConnectionFault(f.PROTOCOL_ERROR, "RST_STREAM on stream 0")
        stream = self._streams.get(number)
        self._verdict(f.RST_STREAM, number, stream, events)
        if stream is None:
            self._charge(prices.UNKNOWN_FRAME)
            return
        is_answered = stream.state == LOCAL_CLOSED
        self._reset += 1
        self._forget(number)
        self._note_reset(number, RESET_BY_CLIENT)
        if not is_answered:
            events.append(StreamReset(number, int.from_bytes(payload, "big")))
        self._charge(prices.RESET_BY_CLIENT)

    def _receive_settings(self, number: int, flags: int, payload: bytes, events: list[Event]) -> None:
        if number:
            raise ConnectionFault(f.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & f.ACK:
            if payload:
                raise ConnectionFault(f.FRAME_SIZE_ERROR, "acknowledged SETTINGS with values")
            if self._expects == f.SETTINGS:
                raise ConnectionFault(f.PROTOCOL_ERROR, "acknowledged SETTINGS before any")
            if not self._settings_due:
                self._charge(prices.SETTINGS)
            self._settings_due = 0.0
            return
        if len(payload) % 6:
            raise ConnectionFault(f.FRAME_SIZE_ERROR, "SETTINGS of half a value")
        if self._expects == f.SETTINGS:
            self._expects = -1
        self._charge(prices.SETTINGS + prices.SETTINGS_ENTRY * (len(payload) // 6))
        values: dict[int, int] = {}
        for at in range(0, len(payload), 6):
            key = int.from_bytes(payload[at : at + 2], "big")
            value = values[key] = int.from_bytes(payload[at + 2 : at + 6], "big")
            if value > 1 and key in f.SWITCHES:
                raise ConnectionFault(f.PROTOCOL_ERROR, "a setting is neither 0 nor 1 that has to be")
            if key == f.INITIAL_WINDOW_SIZE and value > f.MAX_WINDOW:
                raise ConnectionFault(f.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
            if key == f.MAX_FRAME_SIZE and not f.MIN_MAX_FRAME <= value <= f.MAX_MAX_FRAME:
                raise ConnectionFault(f.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of range")
            if key == f.HEADER_TABLE_SIZE and value < 4096:
                self._owes_table_update = True
        self._out.append(f.ACKED_SETTINGS)
        if f.MAX_FRAME_SIZE in values:
            self._frame_bytes = min(values[f.MAX_FRAME_SIZE], MAX_SENT_FRAME)
        if f.INITIAL_WINDOW_SIZE in values:
            growth = values[f.INITIAL_WINDOW_SIZE] - self._initial_send_window
            self._initial_send_window += growth
            for stream in self._streams.values():
                stream.send_window += growth
                if stream.send_window > f.MAX_WINDOW:
                    raise ConnectionFault(f.FLOW_CONTROL_ERROR, "a stream's window is too large")
            if growth > 0 and self._blocked:
                self._tell_room(events)

    def _receive_ping(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(f.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(f.FRAME_SIZE_ERROR, "PING of another size")
        self._pings += 1
        if self._pings > self._sent_bytes // prices.BYTES_PER_PING:
            self._charge(prices.PING)
        if not flags & f.ACK:
            self._out.append(f.frame(f.PING, f.ACK, 0, payload))

    def _receive_priority(self, number: int, payload: bytes, events: list[Event]) -> None:
        """PRIORITY of RFC 7540: nothing of it counts any more, but it has to be well-formed."""
        if not number:
            raise ConnectionFault(f.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._charge(prices.PRIORITY)
        if len(payload) != 5:
            code, reason = f.FRAME_SIZE_ERROR, "PRIORITY of another size"
        elif int.from_bytes(payload[:4], "big") & f.MAX_STREAM == number:
            code, reason = f.PROTOCOL_ERROR, "a stream that depends on itself"
        else:
            return
        if number not in self._streams:
            raise ConnectionFault(code, reason)
        self._break(number, code, reason, events)

    def _receive_priority_update(self, number: int, payload: bytes) -> None:
        """RFC 9218 §7.1."""
        if number:
            raise ConnectionFault(f.PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
        if len(payload) < 4:
            raise ConnectionFault(f.FRAME_SIZE_ERROR, "PRIORITY_UPDATE too short")
        self._charge(prices.PRIORITY)
        number = int.from_bytes(payload[:4], "big") & f.MAX_STREAM
        _check_number(number)
        stream = self._streams.get(number)
        if stream is not None:
            stream.update = parse_priority(payload[4:])
        elif number > self._last:
            if len(self._early_updates) >= self._max_streams:
                del self._early_updates[next(iter(self._early_updates))]
            self._early_updates[number] = parse_priority(payload[4:])

    def abort(self, code: int) -> None:
        """End everything: GOAWAY is the last that ``data_to_send`` has."""
        if not self._is_over:
            self._end_all(code)

    # Ends.

    def _break(
        self, number: int, code: int, reason: str, events: list[Event], points: int = prices.RESET_BY_US
    ) -> None:
        """Reset a stream, live or not, for what the client did; raise ``ConnectionFault`` if that is too often."""
        is_news = number not in self._resets
        stream = self._streams.get(number)
        if stream is not None:
            is_news = stream.state != LOCAL_CLOSED
            self._reset += 1
            self._forget(number)
        self._out.append(f.rst_stream(number, code))
        self._note_reset(number, RESET_BY_US)
        if is_news:
            events.append(StreamBroken(number, code, reason))
        self._charge(points)

    def _note_gap(self, number: int) -> None:
        """Numbers up to this one were passed over: they never were streams, and can't become any (§5.1.1)."""
        self._gaps.append(range(self._last + 1, number))
        if len(self._gaps) > MAX_REMEMBERED_GAPS:
            del self._gaps[0]

    def _charge(self, points: int) -> None:
        budget = self._budget
        budget.points += points
        if budget.is_spent:
            raise ConnectionFault(f.ENHANCE_YOUR_CALM, "too much trouble")

    def _fail(self, fault: ConnectionFault, events: list[Event]) -> None:
        self._end_all(fault.code)
        events.append(ConnectionFailed(fault.code, fault.reason))

    def _end_all(self, code: int) -> None:
        self._is_over = True
        self._out.append(f.goaway(self._last, code))
        self._buffer = b""
        self._fragments = []
        for known in (self._streams, self._blocked, self._paced, self._lingering):
            known.clear()


def _check_number(number: int) -> None:
    if not number & 1:
        raise ConnectionFault(f.PROTOCOL_ERROR, "a number that is no client's stream")
