"""Step 5: one WSGI call (PEP 3333), from the environ to the last frame of its answer.

I/O: only through the channel (frames out) and the runner (waiting for credit). Protects: exactly one end frame per
stream, never a byte beyond the credit or the announced length, ``close()`` of the iterable in every case, and a worker
that survives whatever the application does short of ending the process.

HOT: benchmarks/hello_wsgi.py. A list of one small block, which is what most applications return, is one frame.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

from ..wire.codec import COMPLETE, UNKNOWN_LENGTH, answer_frame, unpack_request
from ..wire.frames import (
    DATA,
    DATA_LAST,
    FAILED,
    FILE_COST,
    FILE_LAST,
    HEADER,
    HINTS,
    LOG,
    MAX_HINTS,
    MAX_PAYLOAD,
    WINDOW,
    file_frame,
    frame,
)
from .channel import Channel, Stream
from .files import LEAST_BYTES, FileWrapper, open_file, read_piece
from .heads import hint_lines, known_statuses, parse_status, text_head
from .loader import text_of

_ERROR = 40  # a level of the error log

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class ClientGone(OSError):
    """The client left: raised where the application reads or writes, never logged as its failure."""


class Waits(Protocol):
    """What a call needs of the runner."""

    lock: threading.Lock

    def wait_for_credit(self, stream: WsgiStream) -> None:
        """Return when ``stream.available`` is positive or ``stream.is_gone``."""

    def wait_for_body(self, stream: WsgiStream) -> None:
        """Return when chunks or the end arrived, or ``stream.is_gone``."""


class WsgiStream(Stream):
    """A request and the answer that the application makes for it."""

    __slots__ = (
        "block",
        "chunks",
        "condition",
        "content_length",
        "flags",
        "has_whole_body",
        "hints",
        "is_bodyless",
        "is_head",
        "is_head_sent",
        "is_over",
        "payload",
        "remaining",
        "runner",
        "status",
        "unreturned",
    )

    # Set by start_response, before anything reads them.
    status: int
    flags: int
    content_length: int
    remaining: int
    is_bodyless: bool
    hints: int

    def __init__(self, channel: Channel, number: int, payload: bytes, runner: Waits) -> None:
        self.channel = channel
        self.number = number
        self.state = 0  # WAITING
        self.is_gone = False
        self.available = WINDOW
        self.payload = payload
        self.runner = runner
        self.block: bytes | None = None
        self.is_head_sent = False
        self.is_over = False
        self.condition: threading.Condition | None = None
        if payload[0] & 1:  # HAS_BODY
            self.chunks: deque[bytes] = deque()
            self.has_whole_body = False
            self.unreturned = 0

    def run(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        """Call the application and send what it answers. Never raises."""
        self.is_head = self.is_bodyless = environ["REQUEST_METHOD"] == "HEAD"
        result: Any = None
        try:
            result = app(environ, self.start_response)
            kind = type(result)
            if (
                (kind is list or kind is tuple)
                and len(result) == 1
                and self.block is not None
                and not self.is_head_sent
            ):
                body = result[0]
                if type(body) is bytes:
                    length = self.content_length
                    if length < 0:
                        # PEP 3333 "Handling the Content-Length Header": one element, so its length is the answer's.
                        self.content_length = length = len(body)
                        if self.is_bodyless and self.status == 304:
                            self.content_length = -1
                    if length == len(body) <= 65536 and not self.is_bodyless:
                        flags = self.flags | COMPLETE
                        self.channel.out.append(answer_frame(self.number, self.status, flags, length, self.block, body))
                        self.is_over = True
                        self.channel.streams.pop(self.number, None)
                        return
            if kind is not FileWrapper or not self._send_file(result.file):
                self._iterate(result)
        except BaseException as error:
            self._fail(error)
        try:
            close = getattr(result, "close", None)  # an attribute of the application's may raise too
            if close is not None:
                close()
        except BaseException as error:
            self._fail(error)
        if not self.is_over:
            # The iteration was left because the client did.
            self._end(frame(FAILED, self.number))
        self.channel.streams.pop(self.number, None)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333 "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self.is_head_sent or self.is_over:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.block is not None:
            raise AssertionError("start_response() was already called")
        code = known_statuses.get(status) or parse_status(status)
        self.block, self.flags, self.content_length = text_head(headers)
        self.status = code
        self.is_bodyless = self.is_head
        if code != 200:
            self.is_bodyless = self.is_head or code == 204 or code == 304
            if code == 205:
                self.content_length = 0  # RFC 9110 §15.3.6: no content, but a length is due
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333 "The write() Callable": sends before it returns."""
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if self.is_gone:
            raise ClientGone("the client has gone")
        if data:
            self._send(data)

    def early_hints(self, headers: Iterable[tuple[str | bytes, str | bytes]]) -> None:
        """``environ["wsgi.early_hints"]``: send a 103 answer with these headers, as gunicorn does.

        Returns at once, and does nothing, where it would come too late (after the first byte of the answer) or once too
        often. Raises TypeError and ValueError for headers that can't be sent.
        """
        block = hint_lines(headers)
        count = getattr(self, "hints", 0)  # HOT: unset in all those that hint nothing
        if block and count < MAX_HINTS and not (self.is_head_sent or self.is_over or self.is_gone):
            self.hints = count + 1
            self.channel.out.append(frame(HINTS, self.number, block))
            self.channel.flush()

    def _iterate(self, result: Any) -> None:
        for data in result:
            if type(data) is not bytes:
                if not isinstance(data, bytes):
                    raise TypeError(f"the application's iterable gave {type(data).__name__}, not bytes")
                data = bytes(data)
            if self.is_gone:
                return
            if data and not self._send(data):
                return  # it may be endless, and nobody takes any of it
        if self.is_over or self.is_gone:
            return
        block = self._started()
        if self.is_bodyless:
            self._finish_bodyless(-1)  # nothing for HEAD says nothing about GET
        elif self.is_head_sent:
            if self.content_length >= 0:
                raise too_short(self.content_length, self.remaining)
            self._end(frame(DATA_LAST, self.number))
        elif self.content_length > 0:
            raise too_short(self.content_length, self.content_length)
        else:
            self._end(answer_frame(self.number, self.status, self.flags | COMPLETE, 0, block))

    def _send_file(self, file: Any) -> bool:
        """Send what is left of an open file without iterating, as far as the announced length asks for it (PEP 3333
        "Optional Platform-Specific File Handling"). Returns False, and has done nothing, where that is not possible.
        """
        found = open_file(file)
        if found is None or self.is_over or self.is_gone:
            return False
        fd, offset, count = found
        block = self._started()
        announced = self.content_length
        if self.is_bodyless:
            if announced < 0 and self.status != 304:
                self.content_length = count
            self._finish_bodyless(-1)
            return True
        due = count if announced < 0 else self.remaining if self.is_head_sent else announced
        if not 0 < due <= count:
            return False  # too short: iterating ends as it should
        if due < LEAST_BYTES:
            if self.is_head_sent:
                return False
            data = read_piece(fd, offset, due)
            self._end(answer_frame(self.number, self.status, self.flags | COMPLETE, due, block, data))
            return True
        # What was written before may still be on its way: then it has no credit left for a file.
        if self.available < FILE_COST or not self.channel.pass_file(self.number, fd):
            return False
        if not self.is_head_sent:
            self.is_head_sent = True
            self.channel.out.append(answer_frame(self.number, self.status, self.flags, due, block))
        self._end(file_frame(FILE_LAST, self.number, offset, due))
        return True

    def _started(self) -> bytes:
        if self.block is None:
            raise AssertionError("the application did not call start_response()")
        return self.block

    def _send(self, data: bytes) -> bool:
        """Send a block at once: PEP 3333 forbids to keep it back until the application makes the next one.

        Returns False if nobody takes any more of this answer.
        """
        if self.is_over:
            return self._cut()
        channel = self.channel
        out = channel.out
        number = self.number
        if not self.is_head_sent:
            block = self._started()
            self.remaining = length = self.content_length
            if self.is_bodyless:
                self._finish_bodyless(-1)
                channel.flush()
                return False
            first = data[:MAX_PAYLOAD] if len(data) > MAX_PAYLOAD else data
            if 0 <= length <= len(first):
                # The announced length is here: the answer is complete, whatever the iterable still does.
                self._end(answer_frame(number, self.status, self.flags | COMPLETE, length, block, first[:length]))
                is_all = length == len(data) or self._cut()
                channel.flush()
                return is_all
            self.is_head_sent = True
            self.available -= len(first)
            self.remaining -= len(first)
            out.append(answer_frame(number, self.status, self.flags, length, block, first))
            if len(first) == len(data):
                channel.flush()
                return True
            view = memoryview(data)[len(first) :]
        else:
            view = memoryview(data)
        is_all = True
        if self.content_length >= 0 and len(view) > self.remaining:
            view = view[: self.remaining]
            is_all = False
        at = 0
        while at < len(view):
            if self.available <= 0:
                channel.flush()
                self.runner.wait_for_credit(self)
            if self.is_gone:
                raise ClientGone("the client has gone")
            if self.is_over:
                return False  # ended by another thread meanwhile: not a frame more
            piece = view[at : at + min(MAX_PAYLOAD, self.available)]
            at += len(piece)
            # SAFETY: `available` is also added to by the watcher.
            with self.runner.lock:
                self.available -= len(piece)
            self.remaining -= len(piece)
            if self.remaining == 0 and self.content_length >= 0:
                self.is_over = True
                out.extend((HEADER.pack(len(piece), DATA_LAST, number), piece))
            else:
                # SAFETY: extend is one step, so no other thread's frame gets between header and bytes.
                out.extend((HEADER.pack(len(piece), DATA, number), piece))
        if not is_all:
            self._cut()
        channel.flush()
        return is_all

    def _cut(self) -> bool:
        """Say once that the application gives more than its answer may have; where no body may be it is usual."""
        if not (self.is_bodyless or self.content_length < 0):
            self.channel.out.append(log_frame(_ERROR, too_long(self.payload, self.content_length)))
            self.content_length = UNKNOWN_LENGTH  # said once; the answer is over, so nothing else needs it
        return False

    def _finish_bodyless(self, length: int) -> None:
        """End an answer to HEAD, or with 204 or 304; ``length`` is what a GET would have had, -1 = not known."""
        if self.is_over:
            return
        if self.content_length >= 0:
            length = self.content_length
        if self.status == 204 or (self.status == 304 and self.content_length < 0):
            length = -1
        self._end(answer_frame(self.number, self.status, self.flags | COMPLETE, length, self._started()))

    def _end(self, last: bytes) -> None:
        self.channel.out.append(last)
        self.is_over = True

    def _fail(self, error: BaseException) -> None:
        if self.is_over:
            if not isinstance(error, ClientGone):
                self.channel.out.append(log_frame(_ERROR, "after the answer was complete:\n" + text_of(error)))
            return
        self._end(frame(FAILED, self.number, b"" if isinstance(error, ClientGone) else text_payload(text_of(error))))

    def drop(self) -> None:
        """The client left before the call began: end the stream without calling the application."""
        self._end(frame(FAILED, self.number))
        self.channel.streams.pop(self.number, None)


def too_short(announced: int, missing: int) -> RuntimeError:
    return RuntimeError(f"the answer ends after {announced - missing} of the {announced} bytes that it announced")


def too_long(payload: bytes, limit: int) -> str:
    """Return the line about a body that was cut; ``payload``: the REQUEST's, if it is still there."""
    what = ""
    if len(payload) > 3:
        _, _, head = unpack_request(payload)
        what = f" to {head[0]} {head[1].decode('ascii', 'backslashreplace')}"
    return f"the answer{what} was cut at the {limit} bytes that it may have: the application gave more"


def log_frame(level: int, text: str) -> bytes:
    return frame(LOG, 0, bytes([level]) + text_payload(text))


def text_payload(text: str) -> bytes:
    """Return a text as a payload; of a traceback that is too long the end is worth more."""
    raw = text.encode("utf-8", "backslashreplace")
    return raw if len(raw) <= 60_000 else b"...\n" + raw[-60_000:]
