"""Step 5: one ASGI call of a WebSocket, ``receive`` and ``send`` of a ``websocket`` scope (ASGI WebSocket spec 2.5, and
the extension Websocket Denial Response).

I/O: none of its own; frames go to the runner's turn. The front speaks RFC 6455, here are whole messages. Protects:
exactly one end frame per stream, never a byte beyond the credit, messages in the right order only, pieces of two
messages never mixed. After the client left ``send`` raises ``ClientGone``, an OSError.

HOT: ``take``, ``receive`` and ``send`` (benchmarks/websocket_echo.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from ..wire.codec import COMPLETE, answer_frame
from ..wire.frames import (
    CREDIT_BODY,
    FAILED,
    HEADER,
    MAX_PAYLOAD,
    MAX_REASON,
    MESSAGE_COST,
    SOCKET_BINARY,
    SOCKET_BINARY_PIECE,
    SOCKET_CLOSE,
    SOCKET_CLOSED,
    SOCKET_GONE,
    SOCKET_PIECE,
    SOCKET_TEXT,
    SOCKET_TEXT_PIECE,
    SOCKET_TOLD,
    WINDOW,
    accept_frame,
    close_frame,
    frame,
    number_frame,
    unpack_close,
)
from .asgi_stream import AsgiStream
from .channel import Channel
from .heads import byte_head
from .loader import text_of
from .waiting import WaitingStream
from .wsgi import ClientGone, log_frame, text_payload

if TYPE_CHECKING:
    from .asgi import AsgiRunner

_ERROR = 40  # a level of the error log
_NORMAL = 1000
_NO_CODE = 1005
_ABNORMAL = 1006
_RESTART = 1012
_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))
_OURS = ("sec-websocket-accept:", "sec-websocket-protocol:", "sec-websocket-extensions:", "sec-websocket-version:")
_TURN_AFTER = 16  # times that ``websocket.disconnect`` was told
# Not asked for anything yet, told of the client, accepted, refused with an answer of its own, over.
_NEW, _CONNECTING, _ACCEPTED, _DENIED, _CLOSED = range(5)


class AsgiWebSocket(WaitingStream):
    __slots__ = (
        "_code",
        "_denial",
        "_is_closed",
        "_is_sending",
        "_kept",
        "_messages",
        "_payload",
        "_protocols",
        "_reason",
        "_stage",
        "_told",
        "_unreturned",
        "is_half_closed",
    )

    def __init__(self, channel: Channel, number: int, payload: bytes, runner: AsgiRunner) -> None:
        self.channel = channel
        self.number = number
        self.state = 0  # WAITING
        self.is_gone = False
        self.is_half_closed = False  # a client that sends nothing more has left, says SOCKET_GONE
        self.available = WINDOW
        self._payload = payload
        self._runner = runner
        self._stage = _NEW
        self._messages: deque[tuple[int, bytes, int]] = deque()  # kind, payload, what it cost
        self._kept: bytearray | None = None  # of a message that is not whole
        self._unreturned = 0
        self._is_closed = False  # by the client, or the front
        self._is_sending = False  # a message in pieces
        self._code = _ABNORMAL
        self._reason = ""
        self._told = 0
        self._waiters = None
        self._denial: _Denial | None = None
        self._protocols: list[str] = []

    async def run(self) -> None:
        """Call the application; never raises."""
        runner = self._runner
        if not runner.is_started_now(self):
            runner.sockets -= 1
            runner.task_over(self)
            return
        try:
            if not self.is_gone:
                scope = runner.scopes.make_websocket(self._payload)
                self._payload = b""
                self._protocols = scope["subprotocols"]
                await runner.app(scope, self.receive, self.send)
            self._finish()
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a task that raised them would end the loop.
            self._fail(error)
        finally:
            runner.tasks.pop(self, None)
            if runner.is_stopping:
                runner.task_over(self)

    def _finish(self) -> None:
        """The application has returned."""
        if self._stage == _ACCEPTED:
            self._end(close_frame(SOCKET_CLOSE, self.number, _NORMAL, ""))
        elif self._stage == _DENIED:
            assert self._denial is not None
            self._denial.returned()
        elif self._stage != _CLOSED:
            if self.is_gone:
                self._end(frame(FAILED, self.number))
                return
            text_line = "the ASGI application returned without accepting or refusing a WebSocket: refused with 403"
            self._runner.post(self.channel, log_frame(_ERROR, text_line))
            self._end(answer_frame(self.number, 403, COMPLETE, 0, b""))

    def _fail(self, error: BaseException) -> None:
        if self._stage == _DENIED:
            assert self._denial is not None
            self._denial.failed(error)
        elif self._stage == _CLOSED:
            if not isinstance(error, (asyncio.CancelledError, ClientGone)) and not self.is_gone:
                text = "after the WebSocket was closed:\n" + text_of(error)
                self._runner.post(self.channel, log_frame(_ERROR, text))
        elif self.is_gone:
            # Whatever an application raises because its client left is no failure of its own.
            self._end(frame(FAILED, self.number))
        else:
            self._end(frame(FAILED, self.number, text_payload(text_of(error))))

    # -- what comes of the client

    def take(self, kind: int, payload: bytes) -> None:
        """A frame of this stream arrived."""
        if kind == SOCKET_PIECE:
            if self._kept is None:
                self._kept = bytearray()
            self._kept += payload
            # It can be given to nobody before it is whole, so it must not hold up its own rest. The front has a limit.
            self._return(len(payload) + MESSAGE_COST)
            return
        if kind in (SOCKET_CLOSED, SOCKET_GONE):
            if not self._is_closed:
                self._is_closed = True
                self._code, self._reason = unpack_close(payload)
            self._kept = None
            if kind == SOCKET_GONE:
                self.is_gone = True
            else:
                # Behind what came before it: that may still be answered.
                self._messages.append((kind, b"", 0))
        elif not self.is_gone:
            cost = len(payload) + MESSAGE_COST
            if self._kept is not None:
                payload = bytes(self._kept + payload)
                self._kept = None
            self._messages.append((kind, payload, cost))
        if self._waiters is not None:
            self.wake()

    def _return(self, cost: int) -> None:
        self._unreturned += cost
        if self._unreturned >= WINDOW // 2:
            self._runner.post(self.channel, number_frame(CREDIT_BODY, self.number, self._unreturned))
            self._unreturned = 0

    async def receive(self) -> dict[str, Any]:
        if self._stage == _NEW:
            self._stage = _CONNECTING
            return {"type": "websocket.connect"}
        messages = self._messages
        while not messages:
            if self.is_gone or self._stage >= _DENIED:
                # Told without a wait, but an application that asks again and again must not hold the loop.
                self._told += 1
                if self._told % _TURN_AFTER == 0:
                    await asyncio.sleep(0)
                return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}
            await self._wait()
        kind, payload, cost = messages.popleft()
        # HOT: `_return`, written out.
        self._unreturned += cost
        if self._unreturned >= WINDOW // 2:
            self._return(0)
        if kind == SOCKET_TEXT:
            return {"type": "websocket.receive", "text": payload.decode()}
        if kind == SOCKET_BINARY:
            return {"type": "websocket.receive", "bytes": payload}
        self.is_gone = True
        if self._stage != _CLOSED:
            self._runner.post(self.channel, frame(SOCKET_TOLD, self.number))
        return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}

    # -- what goes to it

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.send" and self._stage == _ACCEPTED:
            text = message.get("text")
            if text is None:
                payload = message.get("bytes")
                if type(payload) is not bytes:
                    payload = _as_bytes(payload)
                last = SOCKET_BINARY
            else:
                if type(text) is not str:
                    raise TypeError(f"text must be a str, not {type(text).__name__}")
                payload = text.encode()
                last = SOCKET_TEXT
            if self.is_gone:
                await asyncio.sleep(0)
                raise ClientGone("the client has gone")
            length = len(payload)
            if length > MAX_PAYLOAD or self._is_sending or length + MESSAGE_COST > self.available:
                await self._send_slowly(last, payload)
                return
            self.available -= length + MESSAGE_COST
            # HOT: `post`, written out.
            channel = self.channel
            out = channel.out
            if not out:
                self._runner.loop.call_soon(self._runner.flush, channel)
            out.append(HEADER.pack(length, last, self.number) + payload)
            return
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            await self._close(message)
        elif kind in ("websocket.http.response.start", "websocket.http.response.body"):
            await self._deny(kind, message)
        elif kind == "websocket.send":
            if self.is_gone and self._stage != _CLOSED:
                raise ClientGone("the client has gone")
            raise RuntimeError("websocket.send " + ("after it was closed" if self._stage > _ACCEPTED else "too early"))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    async def _send_slowly(self, last: int, payload: bytes) -> None:
        """Send a message in pieces, or when there is credit for it, and no other one in between."""
        while self._is_sending:
            await self._wait()
            self._check_open()
        self._is_sending = True
        piece_kind = SOCKET_TEXT_PIECE if last == SOCKET_TEXT else SOCKET_BINARY_PIECE
        at = 0
        try:
            while True:
                piece = payload[at : at + MAX_PAYLOAD]
                cost = len(piece) + MESSAGE_COST
                while self.available < cost:
                    await self._wait()
                    self._check_open()
                self.available -= cost
                at += len(piece)
                is_last = at >= len(payload)
                self._runner.post(self.channel, frame(last if is_last else piece_kind, self.number, piece))
                if is_last:
                    return
        except BaseException:
            if at and self._stage == _ACCEPTED and not self.is_gone:
                # Cancelled in the middle of a message, which nothing can mend: the client is told by a close.
                self._end(close_frame(SOCKET_CLOSE, self.number, 1011, "a message was cut off"))
            raise
        finally:
            self._is_sending = False
            self.wake()

    def _check_open(self) -> None:
        """After a wait."""
        if self.is_gone:
            raise ClientGone("the client has gone")
        if self._stage != _ACCEPTED:
            raise RuntimeError("another task closed the WebSocket meanwhile")

    def _accept(self, message: dict[str, Any]) -> None:
        if self._stage > _CONNECTING:
            raise RuntimeError("websocket.accept was already sent, or the WebSocket refused")
        protocol = message.get("subprotocol")
        if protocol is not None and protocol not in self._protocols:
            raise ValueError(f"subprotocol {protocol!r} is none of those that the client offers")
        block = byte_head(message.get("headers") or ())[0]
        names = [line.partition(b":")[0] + b":" for line in block.split(b"\r\n")]
        for name in _OURS:
            if name.encode() in names:
                raise ValueError(f"the field {name} is not the application's to send")
        if self.is_gone:
            self._stage = _ACCEPTED
            return  # `receive` says so, and `send`
        self._stage = _ACCEPTED
        self._runner.post(self.channel, accept_frame(self.number, protocol or "", block))

    async def _close(self, message: dict[str, Any]) -> None:
        code = message.get("code", _NORMAL)
        reason = message.get("reason") or ""
        if code is None:
            code = _NORMAL
        if not isinstance(code, int) or not (code in _CODES or 3000 <= code <= 4999):
            raise ValueError(f"{code!r} is no close code that may be sent")
        if not isinstance(reason, str):
            raise TypeError(f"reason must be a str, not {type(reason).__name__}")
        if len(reason.encode()) > MAX_REASON:
            raise ValueError(f"a close reason of more than {MAX_REASON} bytes")
        if self._stage >= _DENIED:
            raise RuntimeError("the WebSocket was already closed or refused")
        if self.is_gone:
            await asyncio.sleep(0)
            raise ClientGone("the client has gone")
        if self._stage <= _CONNECTING:
            self._code, self._reason = _ABNORMAL, ""
            self._end(answer_frame(self.number, 403, COMPLETE, 0, b""))
            return
        while self._is_sending:
            await self._wait()
            self._check_open()
        self._code, self._reason = int(code), reason
        self._end(close_frame(SOCKET_CLOSE, self.number, int(code), reason))

    async def _deny(self, kind: str, message: dict[str, Any]) -> None:
        """Refuse with an HTTP answer, which is one as any other from here on."""
        if self._denial is None:
            if self._stage > _CONNECTING:
                raise RuntimeError(f"{kind} after the WebSocket was accepted or closed")
            if kind == "websocket.http.response.body":
                raise RuntimeError(f"{kind} before websocket.http.response.start")
            self._denial = _Denial(self.channel, self.number, b"\0", self._runner)
            self._denial.begin(self)
            self._stage = _DENIED
            if self.number in self.channel.streams:
                self.channel.streams[self.number] = self._denial
        await self._denial.send({**message, "type": kind[len("websocket.") :]})

    # -- ends

    def shut(self, code: int) -> None:
        """This worker ends: tell both sides."""
        if self._stage == _ACCEPTED and not self.is_gone:
            self._code = code
            self._end(close_frame(SOCKET_CLOSE, self.number, code, ""))
        self.is_gone = True
        self.wake()

    def _end(self, last: bytes) -> None:
        self._stage = _CLOSED
        self._kept = None
        self._runner.post(self.channel, last)
        if self.channel.streams.pop(self.number, None) is not None:
            self._runner.sockets -= 1
        self.wake()

    def wake(self) -> None:
        super().wake()
        if self._denial is not None:
            self._denial.wake()


class _Denial(AsgiStream):
    """The answer that refuses a WebSocket. It counts as one of those, not as a request that runs."""

    __slots__ = ("_socket",)

    def begin(self, owner: AsgiWebSocket) -> None:
        self._socket = owner
        self.state = owner.state
        self.is_gone = owner.is_gone
        self.available = owner.available
        self._is_bodyless = False

    def failed(self, error: BaseException) -> None:
        """The application raised."""
        self._fail(error)

    def returned(self) -> None:
        """The application returned."""
        if self.channel.streams.get(self.number) is self:
            text = b"" if self.is_gone else b"the ASGI application returned without completing its refusal"
            self._end(frame(FAILED, self.number, text))

    def take(self, kind: int, payload: bytes) -> None:
        """A frame of this stream arrived."""
        if kind in (SOCKET_CLOSED, SOCKET_GONE):
            self.is_gone = self._socket.is_gone = True
            self.wake()

    def shut(self, code: int) -> None:
        """This worker ends; the answer goes on to its end, as all do."""

    def _end(self, last: bytes) -> None:
        super()._end(last)
        self._runner.running += 1
        self._runner.sockets -= 1


def _as_bytes(payload: Any) -> bytes:
    if payload is None:
        raise TypeError("websocket.send without text or bytes")
    if isinstance(payload, (bytearray, memoryview, bytes)):
        return bytes(payload)
    raise TypeError(f"bytes must be bytes, not {type(payload).__name__}")
