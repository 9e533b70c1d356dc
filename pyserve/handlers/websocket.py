"""Step 5 of the request path, of a WebSocket: from the client's frames to whole messages for a worker, and back.

I/O: none. The worker never sees a frame, a ping, or a byte that breaks the rules. Credit is the brake both ways: who
reads from a client that the application does not listen to stops, and so does ``send`` for a client that takes nothing.
Invariant: whatever ends first (client, application, worker, server), each of the other sides is told with a close code,
and the client has the time ``close_timeout_s`` to answer. Messages that came before a close, or before a frame that
breaks the rules, are answered before it is: the application is told behind them, and says when it was.

HOT: ``body_data`` and ``frame_received`` are every message (benchmarks/websocket_echo.py).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from pyserve.handlers.interface import SwitchingExchange
from pyserve.http.response import is_clean_block
from pyserve.http.websocket import (
    ABNORMAL,
    BINARY,
    CLOSE,
    INTERNAL_ERROR,
    NO_CODE,
    PIECE,
    PING,
    PONG,
    RESTART,
    TEXT,
    Failure,
    FrameReader,
    close_frame,
    frame,
    is_close_code,
    read_close,
)
from pyserve.http.websocket_deflate import MIN_BYTES, Deflater, Inflater, agree
from pyserve.http.websocket_handshake import Handshake
from pyserve.wire import frames
from pyserve.wire.codec import COMPLETE, socket_frame, unpack_answer, unpack_peer
from pyserve.wire.credit import ReceiveWindow, SendWindow

if TYPE_CHECKING:
    from pyserve.config.model import WebSocket
    from pyserve.handlers.sockets import Sockets
    from pyserve.handlers.worker import Worker

MAX_PONGS = 16
"""So many pings of one read are each answered; of more only the last (RFC 6455 §5.5.3)."""
_OURS = (b"sec-websocket-", b"upgrade:", b"connection:")
_FRONTS = (b"date:", b"server:")
_OPCODES = {
    frames.SOCKET_TEXT: TEXT,
    frames.SOCKET_BINARY: BINARY,
    frames.SOCKET_TEXT_PIECE: TEXT,
    frames.SOCKET_BINARY_PIECE: BINARY,
}
_KINDS = {PIECE: frames.SOCKET_PIECE, TEXT: frames.SOCKET_TEXT, BINARY: frames.SOCKET_BINARY}

ANSWER_S = 1.0
"""So long a client that has closed waits for the application to answer what it sent before."""

# What became of it: the application has not answered; open; the client has closed, or broke the rules, and the
# application is being told; we have sent a close and wait for the client's; over.
ASKING, OPEN, ENDING, CLOSING, OVER = range(5)


class SocketCall:
    __slots__ = (
        "_close_code",
        "_close_reason",
        "_deflater",
        "_handshake",
        "_head_blob",
        "_is_deflating",
        "_is_heard",
        "_is_reading_paused",
        "_last_frame",
        "_last_heard",
        "_out_opcode",
        "_owed_pong",
        "_pinged_at",
        "_reader",
        "_receive_window",
        "_send_window",
        "_settings",
        "_sockets",
        "_uncredited",
        "deadline",
        "denial",
        "exchange",
        "is_leaving",
        "is_retry",
        "state",
        "stream",
        "worker",
    )

    def __init__(self, sockets: Sockets, exchange: SwitchingExchange, handshake: Handshake, head_blob: bytes) -> None:
        self._sockets = sockets
        self._settings: WebSocket = sockets.settings
        self.exchange = exchange
        self._handshake: Handshake | None = handshake  # None once it was answered
        self._head_blob = head_blob
        self.worker: Worker | None = None
        self.stream = 0
        self.state = ASKING
        self.deadline = 0.0  # of the answer while ASKING or waiting, of the client's close while CLOSING
        self.is_retry = False
        self.is_leaving = False  # it is among those that are sent away
        self.denial = False  # the application has begun an answer of HTTP
        self._reader: FrameReader | None = None
        self._deflater: Deflater | None = None
        self._is_deflating = False
        self._out_opcode = 0  # of the message to the client that goes on, 0 = none
        self._owed_pong = b""  # for when the client takes something again
        self._send_window: SendWindow | None = None
        self._receive_window: ReceiveWindow | None = None
        self._uncredited = 0
        self._is_reading_paused = False
        self._is_heard = True
        self._last_heard = 0.0
        self._pinged_at = 0.0  # 0 = no ping is unanswered
        self._close_code = NO_CODE
        self._close_reason = ""
        self._last_frame = b""  # to be sent once the application was told

    # The handshake goes out and is answered.

    def start(self, worker: Worker, stream: int) -> None:
        """Send the handshake to a worker as ``stream``."""
        self.worker = worker
        self.stream = stream
        self._send_window = SendWindow()
        self._receive_window = ReceiveWindow()
        worker.channel.send_data(socket_frame(stream, self.exchange.peer_blob, self._head_blob))

    def _accept(self, payload: bytes) -> None:
        protocol, block = frames.unpack_accept(payload)
        if self.state != ASKING or self.denial:
            raise frames.WireError("a WebSocket accepted twice, or refused before")
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        if protocol and protocol not in handshake.protocols:
            raise frames.WireError(f"subprotocol {protocol!r}, which was not offered")
        if not is_clean_block(block) or any(line.startswith(_OURS) for line in block.split(b"\r\n")):
            raise frames.WireError(f"a WebSocket accepted with unclean fields: {block[:200]!r}")
        if b"date:" in block or b"server:" in block:  # the front has its own, and each may come once
            block = b"".join([line for line in block.splitlines(keepends=True) if not line.startswith(_FRONTS)])
        lines = [handshake.accept, block]
        if protocol:
            lines.append(b"sec-websocket-protocol: %b\r\n" % protocol.encode())
        settings = self._settings
        inflater = None
        if settings.compress and handshake.extensions:
            agreed = agree(handshake.extensions, settings.context_takeover)
            if agreed is not None:
                agreement, line = agreed
                lines.append(b"sec-websocket-extensions: %b\r\n" % line)
                inflater = Inflater(agreement.keeps_theirs)
                self._deflater = Deflater(agreement)
        self.state = OPEN
        self._head_blob = b""
        self._last_heard = monotonic()
        self._reader = FrameReader(settings.max_message_bytes, inflater)
        self.exchange.switch(b"".join(lines))

    def _deny(self, payload: bytes) -> bool:
        """Take an ANSWER: the application refuses with one of HTTP. Return whether it is whole."""
        status, flags, length, block, body = unpack_answer(payload)
        if self.state != ASKING or self.denial:
            raise frames.WireError("an answer to a WebSocket that was accepted, or a second one")
        if not is_clean_block(block):
            raise frames.WireError(f"answer with unclean fields: {block[:200]!r}")
        self.denial = True
        exchange = self.exchange
        is_whole = bool(flags & COMPLETE)
        if is_whole and not block and not body and status == 403:
            exchange.fail(403, "refused by the application")
        elif is_whole:
            exchange.send(status, block, body, flags)
        else:
            exchange.send_head(status, block, None if length < 0 else length, flags)
            self._send_answer(body)
        return is_whole

    def _send_answer(self, data: bytes) -> None:
        if data:
            assert self._receive_window is not None
            self._receive_window.received(len(data))
            self.exchange.send_data(data)
            self._uncredited += len(data)
        self._return_credit()

    # The client speaks.

    def body_data(self, data: bytes) -> None:
        self._is_heard = True
        reader = self._reader
        if reader is None or self.state == OVER:
            return
        reader.receive_data(data)
        if not self._is_reading_paused:
            self._read(reader)

    def _read(self, reader: FrameReader) -> None:
        """Take messages until more bytes are needed or the worker has as much as it may have."""
        window = self._send_window
        assert window is not None
        pongs: list[bytes] = []
        try:
            while True:
                if window.available < frames.MAX_PAYLOAD + frames.MESSAGE_COST and self.worker is not None:
                    self._pause()
                    break
                event = reader.next_event()
                if event is None:
                    break
                opcode, payload = event
                if opcode < CLOSE:
                    worker = self.worker
                    if worker is not None:
                        window.available -= len(payload) + frames.MESSAGE_COST
                        worker.channel.send_data(frames.frame(_KINDS[opcode], self.stream, payload))
                elif opcode == PING:
                    if len(pongs) < MAX_PONGS:
                        pongs.append(frame(PONG, payload))
                    else:
                        pongs[-1] = frame(PONG, payload)
                elif opcode == CLOSE:
                    self._client_closes(pongs, payload)
                    return
        except Failure as failure:
            self._fail(failure)
            return
        if pongs and self.state == OPEN:
            if self.exchange.is_writable:
                self._owed_pong = b""
                self.exchange.send_data(b"".join(pongs))
            else:
                self._owed_pong = pongs[-1]  # one, however many are asked for: nothing piles up

    def _pause(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self.exchange.pause_body()

    def _client_closes(self, pongs: list[bytes], payload: bytes) -> None:
        code, reason = read_close(payload)
        if self.state == OPEN:
            if pongs:
                self.exchange.send_data(b"".join(pongs))
            self._end(code, reason, close_frame(code))
            return
        if self._close_code == NO_CODE:
            self._close_code, self._close_reason = code, reason
        self._tell_worker(frames.SOCKET_CLOSED)
        self._finish()

    def _fail(self, failure: Failure) -> None:
        """The client broke the rules: say so, and end it (RFC 6455 §7.1.7)."""
        client = unpack_peer(self.exchange.peer_blob)[0]
        whose = client[0] if client else "a Unix socket"
        what = f"closed a WebSocket of {whose}: {failure.code} {failure.reason}"
        self._sockets.client_refused(("websocket", failure.code), what)
        if self.state == OPEN:
            self._end(failure.code, failure.reason, close_frame(failure.code, failure.reason))
        else:
            self._tell_worker(frames.SOCKET_CLOSED)
            self._finish()

    def _end(self, code: int, reason: str, last: bytes) -> None:
        """Nothing more comes of the client: tell the application, then send it ``last``."""
        self._reader = None
        self._close_code, self._close_reason = code, reason
        self._last_frame = last
        worker = self.worker
        if worker is None:
            self._answer_close()
            return
        self.state = ENDING
        self.deadline = monotonic() + ANSWER_S
        worker.channel.send_data(frames.close_frame(frames.SOCKET_CLOSED, self.stream, code, reason))

    def _answer_close(self) -> None:
        self.exchange.send_data(self._last_frame)
        self._finish()

    def _tell_worker(self, kind: int) -> None:
        """Nothing more comes of the client. The stream stays until the application has returned."""
        worker, self.worker = self.worker, None
        if worker is not None and self.stream in worker.sockets:
            code = ABNORMAL if self._close_code == NO_CODE and kind == frames.SOCKET_GONE else self._close_code
            worker.channel.send_data(frames.close_frame(kind, self.stream, code, self._close_reason))

    def _finish(self) -> None:
        self.state = OVER
        self._reader = None
        self._deflater = None
        self.exchange.finish()

    # The worker speaks.

    def frame_received(self, kind: int, payload: bytes) -> bool:
        """Take a frame of this stream; return whether it is over. Raises ``WireError``."""
        exchange = self.exchange
        if kind in _OPCODES:
            window = self._receive_window
            cost = len(payload) + frames.MESSAGE_COST
            if window is None or (self.state == ASKING and not exchange.over):
                raise frames.WireError("a message before the WebSocket was accepted")
            window.received(cost)
            if self.state in (OPEN, ENDING):
                self._send(kind, payload)
            self._uncredited += cost
            self._return_credit()
            return False
        if kind == frames.SOCKET_ACCEPT:
            if not exchange.over:
                self._accept(payload)
            return False
        if kind == frames.SOCKET_TOLD:
            if self.state == ENDING:
                self._answer_close()
            return False
        if kind == frames.CREDIT_BODY:
            if self._send_window is not None:
                self._send_window.add(frames.number(payload))
            self._go_on()
            return False
        if kind == frames.SOCKET_CLOSE:
            code, reason = frames.unpack_close(payload)
            if not exchange.over:
                if self.state == ASKING:
                    raise frames.WireError("a close before the WebSocket was accepted")
                if not is_close_code(code):
                    raise frames.WireError(f"close code {code}")
            self.worker = None
            self.close(code, reason)
            return True
        if kind == frames.ANSWER:
            if not exchange.over:
                return self._deny(payload)
            if self.denial or self._handshake is None:
                raise frames.WireError("an answer to a WebSocket that was accepted, or a second one")
            self.denial = True  # the rest of it is on its way, too
            return bool(unpack_answer(payload)[1] & COMPLETE)
        if kind == frames.DATA and self.denial:
            self._send_answer(payload)
            return False
        if kind == frames.DATA_LAST and self.denial:
            exchange.send_data(payload)
            exchange.finish()
            return True
        if kind == frames.FAILED:
            self.worker = None
            self._application_failed(payload)
            return True
        raise frames.WireError(f"frame of type {kind} at the wrong time")

    def _application_failed(self, payload: bytes) -> None:
        exchange = self.exchange
        what = f"app {self._sockets.name} failed\n{payload.decode('utf-8', 'replace')}"
        if self.state == ASKING:
            if payload:
                exchange.fail(500, what)
            else:
                exchange.fail(503, f"app {self._sockets.name}: its worker ended", b"retry-after: 1\r\n")
            return
        if payload:
            self._sockets.log(f"{exchange.request.raw_target[:500].decode('latin-1')}: {what}")
        self.close(INTERNAL_ERROR, "")

    def _send(self, kind: int, payload: bytes) -> None:
        """Send a message, or the next piece of one, to the client."""
        is_final = kind < frames.SOCKET_TEXT_PIECE
        opcode = _OPCODES[kind]
        if not self._out_opcode:
            if self._deflater is None or (is_final and len(payload) < MIN_BYTES):
                if is_final:
                    self.exchange.send_data(frame(opcode, payload))
                    return
            else:
                self._is_deflating = True
        elif opcode != self._out_opcode:
            raise frames.WireError("a message of one kind that goes on as another")
        else:
            opcode = PIECE
        is_deflating = self._is_deflating
        if is_deflating:
            assert self._deflater is not None
            payload = self._deflater.deflate(payload, is_final)
        self._out_opcode = 0 if is_final else _OPCODES[kind]
        self._is_deflating = is_deflating and not is_final
        self.exchange.send_data(frame(opcode, payload, is_final, is_deflating and opcode != PIECE))

    def _return_credit(self) -> None:
        """Let the application go on, once the client has taken what it was sent."""
        if self.exchange.is_writable or self.exchange.over or self.state == CLOSING:
            assert self._receive_window is not None
            count, self._uncredited = self._uncredited, 0
            credit = self._receive_window.consumed(count)
            worker = self.worker
            if credit and worker is not None:
                worker.channel.send_control(frames.number_frame(frames.CREDIT, self.stream, credit))

    def on_writable(self) -> None:
        if self._owed_pong and self.state == OPEN and self.exchange.is_writable:
            pong, self._owed_pong = self._owed_pong, b""
            self.exchange.send_data(pong)
        if self._uncredited and self.exchange.is_writable:
            self._return_credit()

    def _go_on(self) -> None:
        """The worker takes messages again, or nobody wants them any more."""
        reader = self._reader
        window = self._send_window
        if not self._is_reading_paused or reader is None or window is None:
            return
        if window.available >= frames.MAX_PAYLOAD + frames.MESSAGE_COST or self.worker is None:
            self._is_reading_paused = False
            self._read(reader)
            if not self._is_reading_paused and self.state != OVER:
                self.exchange.resume_body()

    # Ends.

    def close(self, code: int, reason: str) -> None:
        """Close from our side, and wait for the client to do so too. What it sends until then is still delivered."""
        if self.state == ENDING:
            self._answer_close()
        if self.state != OPEN:
            return
        self.state = CLOSING
        self._close_code, self._close_reason = code, reason
        self.deadline = monotonic() + self._settings.close_timeout_s
        # It may be in the middle of a message, which then has no end, but never of a frame.
        self.exchange.send_data(close_frame(code, reason))
        self._go_on()

    def worker_died(self, reason: str) -> None:
        """The stream is no more."""
        self.worker = None
        if self.state == ASKING:
            self.exchange.fail(502, reason)
        else:
            self.close(RESTART, "")

    def client_gone(self) -> None:
        if self.state != OVER:
            if self.worker is None and self.state == ASKING:
                self._sockets.forget(self)
            self.state = OVER
            self._reader = None
            self._tell_worker(frames.SOCKET_GONE)

    def client_half_closed(self) -> None:
        """It sends nothing more, and has not closed: there is no such thing as half a WebSocket."""
        if self.state == ASKING:
            self.exchange.abort()
            self.client_gone()
        elif self.state != ENDING:  # who has closed before waits for the answer
            self.client_gone()
            self.exchange.finish()

    def body_end(self) -> None:
        """Over HTTP/2 the client's end of its stream."""
        self.client_half_closed()

    # Time passes.

    def sweep(self, now: float) -> None:
        """Called every second."""
        if self.state == OPEN:
            if self._reader is not None:
                self._reader.forgive()
            self._ping(now)
        elif self.state == CLOSING and now >= self.deadline:
            self.client_gone()
            self.exchange.finish()
        elif self.state == ENDING and now >= self.deadline:
            self._tell_worker(frames.SOCKET_GONE)
            self._answer_close()
        elif self.state == ASKING and not self.denial and now >= self.deadline:
            self._sockets.expire(self)

    def _ping(self, now: float) -> None:
        settings = self._settings
        if self._is_heard or self._is_reading_paused:  # what is not read can't be missed
            self._is_heard = False
            self._last_heard = now
            self._pinged_at = 0.0
        elif self._pinged_at:
            if settings.ping_timeout_s and now - self._pinged_at >= settings.ping_timeout_s:
                self.exchange.send_data(close_frame(INTERNAL_ERROR, "no pong in time"))
                self.client_gone()
                self.exchange.finish()
        elif (
            settings.ping_interval_s
            and now - self._last_heard >= settings.ping_interval_s
            and self.exchange.is_writable  # who is slow to take what came before is the connection's to judge
        ):
            self._pinged_at = now
            self.exchange.send_data(frame(PING, b""))
