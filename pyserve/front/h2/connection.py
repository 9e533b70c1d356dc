"""Steps 3 and 6 of the request path: one HTTP/2 connection, the only thing that reads from and writes to its client.

I/O: a transport of the event loop. ``http.h2`` decides what frames mean; here exchanges are made of what it finds, and
everything that a turn has for the client leaves in one write. Which of the answers that wait for room goes first is
what RFC 9218 says. Deadlines are only stored here; the front sweeps them (D4).

HOT: ``data_received`` to ``_flush`` is every request (benchmarks/h2_files.py).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from pyserve.errors import RequestError
from pyserve.front.client_connection import ClientConnection
from pyserve.front.context import Context
from pyserve.front.h2.exchange import H2Exchange
from pyserve.http.h2.connection import Connection
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
from pyserve.http.h2.frames import code_name
from pyserve.http.request import Request
from pyserve.http.response import ERROR_BLOCK, error_page
from pyserve.wire.codec import Peer, TlsPeer

if TYPE_CHECKING:
    from pyserve.front.h2.repeat import H2Repeat
    from pyserve.front.realm import Realm

HIGH_WATER = 64 * 1024
"""Unsent in memory. All streams of a connection share it."""
MOST_UNSENT = 4 * HIGH_WATER
"""With so much unsent nothing more is read: it would be answered, and small answers add up too."""
WRITE_BYTES = 64 * 1024
"""So much is collected before it goes to the transport within a turn."""
TURN_BYTES = 1024 * 1024
"""So much of what waits is sent before others have their turn of the loop."""
INCREMENT_BYTES = 16 * 1024
"""What answers that the client takes piece by piece get in turn (RFC 9218 §10)."""
LAST_CALL_S = 1.0
"""Between the announcement that the connection ends and its end: requests that were on their way are served."""
LINGER_S = 2.0


class H2Connection(ClientConnection):
    __slots__ = (
        "_closes_at",
        "_has_eof",
        "_is_closing",
        "_is_flush_due",
        "_is_lingering",
        "_is_paused",
        "_is_pump_due",
        "_is_pumping",
        "_is_reading_paused",
        "_is_receiving",
        "_unflushed",
        "_waiting",
        "exchanges",
        "h2",
    )

    def __init__(
        self,
        context: Context,
        given: Peer | None = None,
        realm: Realm | None = None,
        tls: Callable[[], TlsPeer] | None = None,
    ) -> None:
        super().__init__(context, given, realm, tls)
        self.exchanges: dict[int, H2Exchange] = {}
        self._waiting: dict[H2Exchange, None] = {}  # those with something that waits for room, oldest first
        self._unflushed = 0
        self._closes_at = 0.0  # 0 = it does not; else no request is taken from then on
        self._is_closing = False  # no request is taken any more: it closes when the last has its answer
        self._is_lingering = False
        self._is_flush_due = False
        self._is_paused = False
        self._is_reading_paused = False
        self._is_pump_due = False
        self._is_pumping = False
        self._is_receiving = False
        self._has_eof = False

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self.context
        self.meet(transport)
        self.h2 = Connection(
            context.h2_settings,
            self.heads.blocks(context.limits.max_head_bytes, enable_connect=context.h2_settings.enable_connect),
            context.now,
        )
        self.transport.set_write_buffer_limits(HIGH_WATER)
        context.add(self)
        self._flush()
        if context.is_draining:  # the kernel had accepted it before
            self.drain()

    def connection_lost(self, exc: Exception | None) -> None:
        self.context.forget(self)
        self._is_lingering = True
        self._leave_all()

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            return
        self._is_receiving = True
        try:
            events = self.h2.receive_data(data, self.context.now)
            if len(events) > 1:
                events = _without_what_is_over(events)
            for event in events:
                self._take(event)
                if self._is_lingering:
                    break  # that was the last that is served: what follows in the same read comes too late
        except Exception:
            # Our own bug: this connection is cut, the front serves on.
            self.context.incident(f"internal error\n{traceback.format_exc()}")
            self.abort()
        finally:
            self._is_receiving = False
        if self._waiting:
            self._pump()
        self._flush()
        if self._is_paused and not self._is_reading_paused and self.transport.get_write_buffer_size() > MOST_UNSENT:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more; what it sent whole is still answered."""
        self._has_eof = True
        for exchange in list(self.exchanges.values()):
            if not exchange.body_is_read:
                self._leave(exchange)
        self._leave_stuck()
        self._end_if_done()
        return bool(self.exchanges)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._is_reading_paused and not self.transport.is_closing():
            self._is_reading_paused = False
            self.transport.resume_reading()
        if self._is_lingering:
            return
        self._pump()
        for exchange in list(self.exchanges.values()):
            if self.is_full:
                break
            if exchange.status and exchange.receiver is not None and not exchange.is_waiting:
                exchange.receiver.on_writable()

    # Events.

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, BodyReceived):
            exchange = self.exchanges.get(event.stream)
            if exchange is not None:
                exchange.body_data(event.data)
            else:
                self.h2.return_credit(event.stream, len(event.data))
        elif isinstance(event, MessageEnded):
            exchange = self.exchanges.get(event.stream)
            if exchange is not None:
                exchange.body_end()
        elif isinstance(event, RoomMade):
            self._schedule_pump()
        elif isinstance(event, (StreamReset, StreamBroken)):
            exchange = self.exchanges.get(event.stream)
            if exchange is not None:
                self._leave(exchange)
        elif isinstance(event, RequestRefused):
            self._refuse(event.stream, RequestError(event.status, event.reason))
        elif isinstance(event, GoawayReceived):
            self._is_closing = True
            self._end_if_done()
        else:
            self._fail(event)

    def _begin(self, event: RequestReceived) -> None:
        """Route a request and hand it to its handler."""
        context = self.context
        request = event.head
        if event.is_end and request.kind is not None:
            repeat = request.line_memo.get(request.kind)
            if (
                repeat is not None
                and not self._is_paused
                and (repeat.same.fresh_until_s > context.now or repeat.same.renew())
            ):
                self._repeat(repeat, event.stream, request)
                return
        if request.protocol:
            from pyserve.front.h2.tunnel import H2Tunnel

            exchange: H2Exchange = H2Tunnel(self, request, event.stream)
        else:
            exchange = H2Exchange(self, request, event.stream)
        self.exchanges[event.stream] = exchange
        try:
            match = self.realm.find_match(request.host, request.path)
            if match.modifiers is not None:
                exchange.modifiers = match.modifiers.for_request(request)  # type: ignore[attr-defined]
            if event.is_end:
                exchange.body_is_read = True
                if request.protocol:
                    raise RequestError(400, "a tunnel that the client has ended already")
            else:
                limit = match.site.max_body_bytes
                exchange.most_body_bytes = context.limits.max_body_bytes if limit is None else limit
                exchange.expect_body()
                if (request.content_length or 0) > exchange.most_body_bytes:
                    raise RequestError(413, "the body is larger than max_body")
            match.handler.handle(exchange, match)
        except RequestError as error:
            exchange.fail(error.status, error.reason)
        except Exception:
            # Our own bug: this request fails, the front serves on.
            exchange.fail(500, f"internal error\n{traceback.format_exc()}")

    def _repeat(self, repeat: H2Repeat, stream: int, request: Request) -> None:
        """Answer as the last equal request was answered: the whole of an exchange, without making one."""
        context = self.context
        started = monotonic()
        if repeat.turn != context.turn:
            repeat.refresh(context, self.heads)
        body = repeat.body
        taken = self.h2.send_encoded(stream, repeat.data, body)
        context.repeated += 1
        if taken < len(body):
            exchange = self.exchanges[stream] = H2Exchange(self, request, stream)
            exchange.body_is_read = True
            exchange.send_rest(repeat.status, body[taken:], taken)
            return
        context.requests += 1
        self._unflushed += taken
        if self._unflushed >= WRITE_BYTES:
            self._flush()
        if not self.exchanges:
            self.deadline = context.idle_deadline
        if context.log_repeated is not None:
            micros = int((monotonic() - started) * 1_000_000)
            context.log(context.log_repeated(self.client, request.line_memo, request, repeat.logged, micros))

    def _refuse(self, stream: int, error: RequestError) -> None:
        """Answer what is no acceptable request."""
        context = self.context
        body = error_page(error.status, "")
        self.h2.send_answer(stream, error.status, ERROR_BLOCK, context.common[0], len(body), body)
        if context.log_line is not None:
            context.log(context.log_line(self.client, None, error.status, len(body), 0.0))
        context.refused(self.client, error)

    def _fail(self, event: ConnectionFailed) -> None:
        """The client broke a rule that all its streams depend on."""
        self.context.error_log.seldom(
            "info",
            ("h2", event.reason),
            f"closed an HTTP/2 connection of {self.client.decode()}: {code_name(event.code)}, {event.reason}",
        )
        self._leave_all()
        self._linger()

    # Bodies.

    def return_credit(self, exchange: H2Exchange, count: int) -> None:
        """Somebody took so much of a body: the client may send as much again."""
        self.h2.return_credit(exchange.stream, count)
        self.flush_soon()

    # Writing.

    @property
    def is_full(self) -> bool:
        """Should who has more to send wait?"""
        return self._is_paused or self._unflushed > HIGH_WATER

    def sent(self, count: int) -> None:
        """So much of a body was given to ``h2``."""
        self._unflushed += count
        if self._unflushed >= WRITE_BYTES:
            self._flush()
        else:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Let what there is leave at the end of this turn."""
        if not (self._is_flush_due or self._is_receiving or self._is_pumping):
            self._is_flush_due = True
            self.context.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        data = self.h2.data_to_send()
        self._unflushed = 0
        if data and not self.transport.is_closing():
            self.written += len(data)
            self.transport.write(data)

    def waits(self, exchange: H2Exchange) -> None:
        """An exchange has something that waits for room."""
        self._waiting[exchange] = None
        self._schedule_pump()

    def _schedule_pump(self) -> None:
        if not (self._is_receiving or self._is_pump_due or self._is_pumping):
            self._is_pump_due = True
            self.context.loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._is_pump_due = False
        self._pump()

    def _pump(self) -> None:
        """Send of what waits, the most urgent first, until there is no room or this turn's share is used up."""
        if self._is_pumping:
            return
        self._is_pumping = True
        share = TURN_BYTES
        try:
            while self._waiting and share > 0 and not self.is_full:
                taken = self._pump_best()
                if not taken:
                    break
                share -= taken
                self._unflushed += taken
                if self._unflushed >= WRITE_BYTES:
                    self._flush()
        finally:
            self._is_pumping = False
        self._flush()
        if self._has_eof:
            self._leave_stuck()
        if share <= 0 and self._waiting and not self._is_paused:
            self._schedule_pump()

    def _pump_best(self) -> int:
        """Send a piece of the most urgent answer that has room. Returns its bytes, 0 = there is none."""
        waiting = self._waiting
        if len(waiting) == 1:
            order = list(waiting)
        else:
            priority = self.h2.priority
            # Oldest first among equals; those that are taken piece by piece go to the end of the line with each.
            order = sorted(waiting, key=lambda exchange: priority(exchange.stream))
        for exchange in order:
            if exchange.over or not exchange.is_waiting:
                waiting.pop(exchange, None)
                continue
            is_incremental = len(order) > 1 and self.h2.priority(exchange.stream)[1]
            taken = exchange.pump(INCREMENT_BYTES if is_incremental else WRITE_BYTES)
            if exchange.over or not exchange.is_waiting:
                waiting.pop(exchange, None)
            elif taken and is_incremental:
                waiting.pop(exchange, None)
                waiting[exchange] = None
            if taken:
                return taken
        return 0

    # Ends.

    def stream_over(self, exchange: H2Exchange) -> None:
        """The exit door of an exchange."""
        if self.exchanges.get(exchange.stream) is exchange:
            del self.exchanges[exchange.stream]
        self._waiting.pop(exchange, None)
        if not self.exchanges:
            self.deadline = self.context.idle_deadline
            self._end_if_done()

    def _leave(self, exchange: H2Exchange) -> None:
        """Nobody waits for this answer any more."""
        self.exchanges.pop(exchange.stream, None)
        self._waiting.pop(exchange, None)
        exchange.client_left()
        if not self.exchanges:
            self.deadline = self.context.idle_deadline
            self._end_if_done()

    def _leave_stuck(self) -> None:
        """A window that is shut when the client has ended its sending never opens again."""
        for exchange in list(self._waiting):
            if not self.h2.room(exchange.stream):
                self._leave(exchange)

    def _leave_all(self) -> None:
        exchanges, self.exchanges = self.exchanges, {}
        self._waiting.clear()
        for exchange in exchanges.values():
            exchange.client_left()

    def _end_if_done(self) -> None:
        """Close if no request runs, and none is taken any more."""
        if (self._is_closing or self._has_eof) and not self.exchanges and not self._is_lingering:
            self._close()

    def _close(self) -> None:
        """Say which request was the last, and close; what was written still goes out."""
        self.h2.close()
        self.h2.close()
        self._linger()

    def _linger(self) -> None:
        """Let the client see the end: data that nobody reads would turn it into a reset."""
        self._flush()
        if self._is_lingering:
            return
        self._is_lingering = True
        self.deadline = self.context.now + LINGER_S
        if self._is_reading_paused and not self.transport.is_closing():
            self.transport.resume_reading()
        if self._has_eof or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.end_sending()

    def abort(self) -> None:
        """Cut now. Exchanges that are not over yet hear of it by ``connection_lost``."""
        self.transport.abort()

    # Deadlines.

    def sweep(self, now: float) -> None:
        """Called every 250 ms: act on what is overdue."""
        if self._is_lingering:
            if self.transport.get_write_buffer_size():
                self.check_progress(now, has_more=False)
            elif now >= self.deadline:
                self.transport.abort()
            return
        for event in self.h2.sweep(now):
            self._take(event)
        coming, so_far = self.h2.incomplete_body()
        exchange = self.exchanges.get(coming)
        if exchange is not None:
            exchange.body_is_coming(so_far)
        for exchange in list(self.exchanges.values()):
            exchange.sweep(now)
        if self._is_lingering:
            return
        self.check_progress(now, self._is_paused)
        if self._closes_at and now >= self._closes_at and not self._is_closing:
            self.h2.close()
            self._is_closing = True
            self._end_if_done()
        elif not self.exchanges and now >= self.deadline:
            self._close()
        self._flush()

    @property
    def is_sheddable(self) -> bool:
        """Is no request under way, with nothing on its way to the client?"""
        return not self.exchanges and not self.transport.get_write_buffer_size()

    def close_idle(self) -> None:
        self._close()

    def drain(self) -> None:
        """Finish what runs and take nothing new, but what was on its way (RFC 9113 §6.8)."""
        if not self._closes_at:
            self._closes_at = self.context.now + LAST_CALL_S
            self.h2.close()
            self._flush()


def _without_what_is_over(events: list[Event]) -> list[Event]:
    """Leave out requests that were reset, or lost with their connection, in the same read: nobody waits for them, and
    whoever floods with such (CVE-2023-44487) costs no handler and no worker anything."""
    if type(events[-1]) is ConnectionFailed:
        return events[-1:]
    over = {event.stream for event in events if type(event) is StreamReset or type(event) is StreamBroken}
    if not over:
        return events
    return [event for event in events if type(event) is not RequestReceived or event.stream not in over]
