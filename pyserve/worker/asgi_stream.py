"""Step 5: one ASGI call, ``receive`` and ``send`` of an HTTP scope (ASGI HTTP spec 2.4, and the extensions
Path Send, Zero Copy Send, Early Hints and HTTP Trailers).

I/O: none of its own but the files that are sent so; frames go to the runner's turn. Protects: exactly one end frame per
stream, never a byte beyond the credit or the announced length, messages in the right order only. After the client left
``send`` takes the last piece of a body in silence and raises ``ClientGone`` for any other (spec 2.4: an OSError), so
that a stream ends.

HOT: benchmarks/hello_asgi.py. The head is held until the first body message: a small whole answer is one frame.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from ..wire.codec import COMPLETE, EXPECTS, HAS_BODY, TRAILED, answer_frame
from ..wire.frames import (
    CREDIT_BODY,
    DATA,
    DATA_LAST,
    FAILED,
    FILE,
    FILE_COST,
    FILE_LAST,
    HINTS,
    MAX_HINTS,
    MAX_LINES,
    MAX_PAYLOAD,
    TRAILERS,
    WANT_BODY,
    WINDOW,
    file_frame,
    frame,
    number_frame,
)
from .channel import Channel
from .files import LEAST_BYTES, open_path, piece_of, read_piece
from .heads import byte_head, link_lines, trailed_head, trailer_lines
from .loader import text_of
from .waiting import WaitingStream
from .wsgi import ClientGone, log_frame, text_payload, too_long, too_short

if TYPE_CHECKING:
    from .asgi import AsgiRunner

_ERROR = 40  # a level of the error log
_TURN_AFTER = 16  # times that ``http.disconnect`` was told
# What became of the answer's head and body. ANNOUNCED is HELD with trailers to come, TRAILING a whole body before them.
_NOTHING, _ANNOUNCED, _HELD, _SENT, _TRAILING, _COMPLETE = range(6)


class AsgiStream(WaitingStream):
    __slots__ = (
        "_block",
        "_chunks",
        "_content_length",
        "_flags",
        "_has_whole_body",
        "_hints",
        "_is_body_given",
        "_is_bodyless",
        "_is_cut",
        "_payload",
        "_remaining",
        "_response",
        "_status",
        "_told",
        "_trailers",
        "_unreturned",
        "is_half_closed",
    )

    def __init__(self, channel: Channel, number: int, payload: bytes, runner: AsgiRunner) -> None:
        self.channel = channel
        self.number = number
        self.state = 0  # WAITING
        self.is_gone = False
        self.is_half_closed = False  # the client may still read: send() works, receive() says http.disconnect
        self.available = WINDOW
        self._payload = payload
        self._runner = runner
        self._response = _NOTHING
        self._waiters = None
        self._is_body_given = False
        self._is_cut = False
        if payload[0]:
            self._chunks: deque[bytes] = deque()
            self._has_whole_body = not payload[0] & HAS_BODY
            self._unreturned = 0

    async def run(self) -> None:
        """Call the application; never raises."""
        runner = self._runner
        if not runner.is_started_now(self):
            runner.stream_recalled()
            runner.task_over(self)
            return
        try:
            if not self.is_gone:
                scope = runner.scopes.make(self._payload)
                self._is_bodyless = scope["method"] == "HEAD"
                await runner.app(scope, self.receive, self.send)
            if self._response < _COMPLETE:
                # Who was told that the client has left need not finish.
                is_excused = self.is_gone or self.is_half_closed
                text = "" if is_excused else "the ASGI application returned without completing its answer"
                self._end(frame(FAILED, self.number, text.encode()))
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a task that raised them would end the loop.
            self._fail(error)
        finally:
            runner.tasks.pop(self, None)
            if runner.is_stopping:
                runner.task_over(self)

    # -- the request's body

    def take_body(self, payload: bytes, is_last: bool) -> None:
        """A BODY or BODY_LAST frame arrived."""
        if payload:
            self._chunks.append(payload)
        if is_last:
            self._has_whole_body = True
        if self._waiters is not None:
            self.wake()

    async def receive(self) -> dict[str, Any]:
        if not self._payload[0]:
            if not self._is_body_given and not self.is_gone and self._response < _COMPLETE:
                self._is_body_given = True
                return {"type": "http.request", "body": b"", "more_body": False}
        else:
            if self._payload[0] & EXPECTS:
                self._payload = b"\1"  # HAS_BODY alone: said once
                if not self.is_gone and self._response < _COMPLETE:
                    self._runner.post(self.channel, frame(WANT_BODY, self.number))
            while not self._is_body_given and not self.is_gone and self._response < _COMPLETE:
                if self._chunks:
                    return self._next_chunk()
                if self._has_whole_body:
                    self._is_body_given = True
                    return {"type": "http.request", "body": b"", "more_body": False}
                await self._wait()
        if self.is_gone or self.is_half_closed or self._response == _COMPLETE:
            # Told without a wait, since there are those who look in passing and cancel at the first one (Starlette's
            # `is_disconnected`). But an application that asks again and again must not hold the loop.
            count = self._told = getattr(self, "_told", 0) + 1
            if count % _TURN_AFTER == 0:
                await asyncio.sleep(0)
        else:
            while not (self.is_gone or self.is_half_closed) and self._response < _COMPLETE:
                await self._wait()
        return {"type": "http.disconnect"}

    def _next_chunk(self) -> dict[str, Any]:
        chunk = self._chunks.popleft()
        if self._has_whole_body:
            if not self._chunks:
                self._is_body_given = True
        else:
            self._unreturned += len(chunk)
            if self._unreturned >= WINDOW // 2:
                self._runner.post(self.channel, number_frame(CREDIT_BODY, self.number, self._unreturned))
                self._unreturned = 0
        return {"type": "http.request", "body": chunk, "more_body": not self._is_body_given}

    # -- the answer

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        response = self._response
        if kind == "http.response.start":
            if response != _NOTHING:
                raise RuntimeError("http.response.start was already sent")
            status = message["status"]
            if type(status) is not int:
                if not isinstance(status, int):
                    raise TypeError(f"status must be an int, not {type(status).__name__}")
                status = int(status)
            if not 200 <= status <= 599:
                raise ValueError(f"status {status} is not a final status code")
            headers = message.get("headers", ())
            if "trailers" in message and message["trailers"]:  # noqa: RUF019 (HOT: `get` is dearer)
                self._block, self._flags, self._content_length = trailed_head(headers)
                self._response = _ANNOUNCED
            else:
                self._block, self._flags, self._content_length = byte_head(headers)
                self._response = _HELD
            if status != 200:
                if status == 204 or status == 304:
                    self._is_bodyless = True
                elif status == 205:
                    self._content_length = 0  # RFC 9110 §15.3.6: no content, but a length is due
            self._status = status
            return
        if kind != "http.response.body":
            await self._send_special(kind, message)
            return
        if response >= _TRAILING:
            raise RuntimeError("the answer was already completed")
        if response == _NOTHING:
            raise RuntimeError("http.response.body before http.response.start")
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = _as_bytes(body)
        if message.get("more_body", False):
            if self.is_gone:
                await asyncio.sleep(0)  # as in `receive`
                raise ClientGone("the client has gone")
            if response <= _HELD:
                body = self._send_head(body)
            if self._is_bodyless:
                await asyncio.sleep(0)  # credit holds a stream back that goes nowhere too fast; here is none
            elif body:
                await self._send_data(body, False)
            return
        if response == _HELD and len(body) <= MAX_PAYLOAD:
            length = self._content_length
            if self._is_bodyless:
                if length < 0 and self._status != 304:
                    length = len(body)
                if self._status == 204:
                    length = -1
                body = b""
            elif length != len(body):
                if length < 0:
                    length = len(body)
                elif length < len(body):
                    body = body[:length]
                    self._cut()
                elif not self.is_gone:
                    if body:
                        self._send_head(body)
                    raise too_short(length, length - len(body))
            self._end(answer_frame(self.number, self._status, self._flags | COMPLETE, length, self._block, body))
            return
        if self.is_gone:
            self._end(frame(FAILED, self.number))
            return
        if self._flags & TRAILED:
            await self._send_before_trailers(body)
            return
        if response == _HELD:
            if self._content_length < 0:
                self._content_length = len(body)
            body = self._send_head(body)
        if self._is_bodyless:
            body = b""
        await self._send_data(body, True)

    async def _send_special(self, kind: str, message: dict[str, Any]) -> None:
        """A message of an extension. What its file is asked for raises before anything is sent."""
        if kind == "http.response.early_hint":
            await self._hint(link_lines(message["links"]))
            return
        if kind == "http.response.trailers":
            await self._trail(message)
            return
        if kind not in ("http.response.pathsend", "http.response.zerocopysend"):
            raise RuntimeError(f"unexpected ASGI message {kind!r}")
        if self._response >= _TRAILING:
            raise RuntimeError("the answer was already completed")
        if self._response == _NOTHING:
            raise RuntimeError(f"{kind} before http.response.start")
        is_trailed = bool(self._flags & TRAILED)
        if kind == "http.response.zerocopysend":
            fd, offset, count = piece_of(message["file"], message.get("offset"), message.get("count"))
            is_last = not message.get("more_body", False)
            await self._send_file(fd, offset, count, is_last and not is_trailed)
            if is_last and is_trailed:
                await self._send_before_trailers(b"")
            return
        if self._response == _SENT:
            raise RuntimeError("http.response.pathsend can't be mixed with other pieces of the body")
        # LIMIT: blocks while the file system does, as the applications of most frameworks do themselves.
        fd, count = open_path(message["path"])
        try:
            await self._send_file(fd, 0, count, not is_trailed)
        finally:
            os.close(fd)
        if is_trailed:
            await self._send_before_trailers(b"")

    async def _hint(self, block: bytes) -> None:
        """Send a 103 while the head is not out: before ``http.response.start`` too, since then is when it helps most.

        Where it would come too late, or once too often, it is left out: the specification lets a server ignore it.
        """
        count = getattr(self, "_hints", 0)  # HOT: unset in all those that hint nothing
        if block and self._response <= _HELD and not self.is_gone and count < MAX_HINTS:
            self._hints = count + 1
            self._runner.post(self.channel, frame(HINTS, self.number, block))
        await asyncio.sleep(0)  # it leaves in this turn, whatever the application does then

    async def _send_before_trailers(self, body: bytes) -> None:
        """Send the last piece of a body that trailers follow: those end the stream."""
        if self._is_bodyless:
            if self._response == _ANNOUNCED:
                length = -1 if self._status == 204 else self._content_length
                flags = self._flags & ~TRAILED | COMPLETE
                self._end(answer_frame(self.number, self._status, flags, length, self._block))
            else:
                self._end(frame(DATA_LAST, self.number))
            return
        if self._response == _ANNOUNCED:
            body = self._send_head(body)
        if body:
            await self._send_data(body, False)
        if self._content_length >= 0 and self._remaining > 0:
            raise too_short(self._content_length, self._remaining)
        if self._response == _SENT:
            self._response = _TRAILING
            self._trailers = b""

    async def _trail(self, message: dict[str, Any]) -> None:
        """Take trailers; they go out together. After an answer that can have none they are dropped."""
        if not (self._response and self._flags & TRAILED):
            raise RuntimeError("http.response.trailers that http.response.start did not announce")
        if self._response < _TRAILING:
            raise RuntimeError("http.response.trailers before the end of the body")
        block = trailer_lines(message.get("headers", ()))
        if self._response == _TRAILING:
            if len(self._trailers) + len(block) > MAX_LINES:
                raise ValueError(f"more than {MAX_LINES} bytes of trailers")
            self._trailers += block
        if message.get("more_trailers", False):
            await asyncio.sleep(0)
            return
        self._flags &= ~TRAILED
        if self._response == _TRAILING:
            self._end(frame(TRAILERS, self.number, self._trailers))

    async def _send_file(self, fd: int, offset: int, count: int, is_last: bool) -> None:
        """Send a piece of a regular file as a piece of the body. The descriptor stays the caller's."""
        if count < LEAST_BYTES and not self._is_bodyless:
            body = read_piece(fd, offset, count) if count else b""
            await self.send({"type": "http.response.body", "body": body, "more_body": not is_last})
            return
        if self.is_gone:
            if not is_last:
                await asyncio.sleep(0)
                raise ClientGone("the client has gone")
            self._end(frame(FAILED, self.number))
            return
        if self._response <= _HELD:
            if is_last and self._content_length < 0 and self._status != 304:
                self._content_length = count
            if is_last and self._is_bodyless:
                length = -1 if self._status == 204 else self._content_length
                self._end(answer_frame(self.number, self._status, self._flags | COMPLETE, length, self._block))
                return
            if is_last and self._content_length > count:
                raise too_short(self._content_length, self._content_length - count)
            self._send_head(b"")
        if self._is_bodyless:
            if is_last:
                self._end(frame(DATA_LAST, self.number))
            else:
                await asyncio.sleep(0)
            return
        while self.available < FILE_COST:
            await self._wait()
            if self._is_ended(is_last):
                return
        is_short = False
        if self._content_length >= 0:
            if count > self._remaining:
                count = self._remaining
                self._cut()
            is_short = is_last and count < self._remaining
        if count < LEAST_BYTES or not self.channel.pass_file(self.number, fd):
            await self._send_read(fd, offset, count, is_last)
            return
        self.available -= FILE_COST
        self._remaining -= count
        if is_last and not is_short:
            self._end(file_frame(FILE_LAST, self.number, offset, count))
            return
        self._runner.post(self.channel, file_frame(FILE, self.number, offset, count))
        if is_short:
            raise too_short(self._content_length, self._remaining)

    async def _send_read(self, fd: int, offset: int, count: int, is_last: bool) -> None:
        """Send a piece of a file as bytes, because its descriptor can't be passed now."""
        while True:
            size = min(count, WINDOW)
            data = await self._runner.loop.run_in_executor(None, read_piece, fd, offset, size)
            if self._is_ended(is_last):
                return
            offset += size
            count -= size
            await self._send_data(data, is_last and not count)
            if not count:
                return

    def _is_ended(self, is_last: bool) -> bool:
        """After a wait: does nobody take any more of this answer? Raises where that is to be told."""
        if self._response == _COMPLETE:
            raise RuntimeError("another task completed the answer meanwhile")
        if not self.is_gone:
            return False
        if not is_last:
            raise ClientGone("the client has gone")
        self._end(frame(FAILED, self.number))
        return True

    def _send_head(self, body: bytes) -> bytes:
        """Send the head with as much of ``body`` as the frame takes; return the rest."""
        self._response = _SENT
        length = self._remaining = self._content_length
        if self._is_bodyless:
            body = b""
            if self._status == 204:
                length = -1
        first = body[:MAX_PAYLOAD]
        if 0 <= length < len(first):
            first = first[:length]
        self.available -= len(first)
        self._remaining -= len(first)
        self._runner.post(
            self.channel, answer_frame(self.number, self._status, self._flags, length, self._block, first)
        )
        return body[len(first) :]

    async def _send_data(self, body: bytes, is_last: bool) -> None:
        is_short = False
        if self._content_length >= 0 and not self._is_bodyless:
            if len(body) > self._remaining:
                body = body[: self._remaining]
                self._cut()
                if not body and not is_last:
                    await asyncio.sleep(0)
                    return
            elif is_last and len(body) < self._remaining:
                is_short = True
                is_last = False
            self._remaining -= len(body)
        at = 0
        end = len(body)
        while True:
            count = min(end - at, MAX_PAYLOAD, self.available)
            is_end = is_last and at + count == end
            if count or is_end:
                piece = body if count == end else body[at : at + count]
                at += count
                self.available -= count
                if is_end:
                    self._end(frame(DATA_LAST, self.number, piece))
                else:
                    self._runner.post(self.channel, frame(DATA, self.number, piece))
            if at == end:
                if is_short:
                    raise too_short(self._content_length, self._remaining)
                return
            while self.available <= 0:
                await self._wait()
                if self._is_ended(is_last):
                    return

    def _cut(self) -> None:
        """Say once that the application gives more than its answer may have."""
        if not self._is_cut:
            self._is_cut = True
            self._runner.post(self.channel, log_frame(_ERROR, too_long(self._payload, self._content_length)))

    def _end(self, last: bytes) -> None:
        # HOT: `post` and the end of a stream, written out.
        self._response = _COMPLETE
        runner = self._runner
        channel = self.channel
        out = channel.out
        if not out:
            runner.loop.call_soon(runner.flush, channel)
        out.append(last)
        runner.running -= 1
        channel.streams.pop(self.number, None)
        if self._waiters is not None:
            self.wake()

    def _fail(self, error: BaseException) -> None:
        if self._response == _COMPLETE:
            if not isinstance(error, (asyncio.CancelledError, ClientGone)):
                text = "after the answer was complete:\n" + text_of(error)
                self._runner.post(self.channel, log_frame(_ERROR, text))
        elif self.is_gone:
            # Whatever an application raises because its client left is no failure of its own.
            self._end(frame(FAILED, self.number))
        else:
            self._end(frame(FAILED, self.number, text_payload(text_of(error))))


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, (bytearray, memoryview, bytes)):
        return bytes(body)
    raise TypeError(f"body must be bytes, not {type(body).__name__}")
