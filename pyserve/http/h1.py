"""Step 4 of the request path: received bytes of an HTTP/1 connection become requests and body bytes.

Pure: fed with bytes, read by ``next_event``; no clock, no socket. It hands out one message at a time: the next head
is looked at only after ``start_next_message``, which makes pipelined answers come in order by construction.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final

from pyserve.errors import RequestError
from pyserve.http.chunked import ChunkedDecoder
from pyserve.http.head import ILLEGAL_WORDS, check_request_line, has_illegal
from pyserve.http.request import Request

# How every request begins, as far as it has come; no method is longer (``http.head``).
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: |\Z)|\r?\Z")


class Signal(enum.Enum):
    NEED_DATA = enum.auto()
    END_OF_MESSAGE = enum.auto()


NEED_DATA: Final = Signal.NEED_DATA
END_OF_MESSAGE: Final = Signal.END_OF_MESSAGE


class _State(enum.Enum):
    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    END = enum.auto()
    PAUSED = enum.auto()
    REFUSED = enum.auto()


class Reader:
    """``receive_data`` any bytes, then ``next_event`` until NEED_DATA. A ``RequestError`` is final.

    Close after it.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_chunks",
        "_max_body",
        "_max_head",
        "_max_headers",
        "_read",
        "_remaining",
        "_searched",
        "_skipped_line",
        "_state",
    )

    def __init__(self, read_head: Callable[[bytes], Request], max_head: int, max_headers: int) -> None:
        """``read_head``: a complete raw head to its checked request (``http.head``), raising ``RequestError``."""
        self._read = read_head
        self._max_head = max_head
        self._max_headers = max_headers
        self._buffer = b""
        self._searched = 0
        self._skipped_line = False
        self._state = _State.HEAD
        self._remaining = 0
        self._body = 0
        self._max_body = 0
        self._chunks: ChunkedDecoder | None = None

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    @property
    def body_left(self) -> int:
        """Bytes of a body by Content-Length that have not been received; 0 for a chunked one."""
        return max(0, self._remaining - len(self._buffer)) if self._state is _State.LENGTH else 0

    @property
    def is_between_messages(self) -> bool:
        """True if a whole number of messages was read: closing now cuts nothing."""
        return not self._buffer and self._state in (_State.HEAD, _State.PAUSED)

    def receive_data(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data

    def allow_body(self, max_body_bytes: int) -> None:
        """Set the body's limit, known only after routing.

        Raises ``RequestError`` (413) if the head already says more.
        """
        self._max_body = max_body_bytes
        if self._state is _State.LENGTH and self._remaining > max_body_bytes:
            self._state = _State.REFUSED
            raise RequestError(413, f"body larger than {max_body_bytes} bytes")

    def allow_unwanted_body(self, max_body_bytes: int) -> None:
        """Let a body in that nobody wants, up to a limit; one that says it is larger is not refused for that."""
        self._max_body = max_body_bytes

    def check_buffered(self) -> None:
        """Look ahead at what has come of the body: raise ``RequestError`` if it is malformed already.

        So a request is not begun, by an application or by a handler that has no use for its body, whose end nobody can
        tell.
        """
        if self._state is _State.CHUNKED and self._buffer:
            try:
                ChunkedDecoder(self._max_headers).receive_data(self._buffer)
            except RequestError:
                self._state = _State.REFUSED
                raise

    def start_next_message(self) -> None:
        if self._state is _State.PAUSED:
            self._state = _State.HEAD

    def skip_message(self) -> None:
        """A body-less message was read elsewhere and is being answered.

        What comes next waits for ``start_next_message``.
        """
        self._state = _State.PAUSED

    def take_buffered(self) -> bytes:
        """Return what has come and was not read: it is another protocol's."""
        data, self._buffer = self._buffer, b""
        return data

    def next_event(self) -> Request | bytes | Signal:
        """Return a request, body bytes, END_OF_MESSAGE or NEED_DATA; raise ``RequestError``.

        After that it is NEED_DATA for ever: not a byte behind what was refused is read (RFC 9112 §9.6).
        """
        try:
            return self._next_event()
        except RequestError:
            self._state = _State.REFUSED
            self._buffer = b""
            raise

    def _next_event(self) -> Request | bytes | Signal:
        state = self._state
        if state is _State.HEAD:
            return self._read_head()
        if state is _State.LENGTH:
            data = self._buffer[: self._remaining]
            if not data:
                return NEED_DATA
            self._buffer = self._buffer[len(data) :]
            self._remaining -= len(data)
            if not self._remaining:
                self._state = _State.END
            return data
        if state is _State.CHUNKED:
            return self._read_chunks()
        if state is _State.END:
            self._state = _State.PAUSED
            return END_OF_MESSAGE
        return NEED_DATA

    def _read_head(self) -> Request | Signal:
        buffer = self._buffer
        if buffer[:2] == b"\r\n":  # RFC 9112 §2.2: one empty line before a request line is let through
            buffer = self._buffer = buffer[2:]
            if self._skipped_line or buffer[:2] == b"\r\n":
                raise RequestError(400, "empty lines before the request line")
            self._skipped_line = True
            self._searched = 0
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end + 4 > self._max_head:
            self._check_partial_head(buffer, end)
            self._searched = len(buffer)
            return NEED_DATA
        raw = buffer[: end + 4]
        self._buffer = buffer[end + 4 :]
        self._searched = 0
        self._skipped_line = False
        request = self._read(raw)
        if request.is_chunked:
            self._state = _State.CHUNKED
            self._chunks = ChunkedDecoder(self._max_headers)
            self._body = 0
        elif request.content_length:
            self._state = _State.LENGTH
            self._remaining = request.content_length
        else:
            self._state = _State.END
        return request

    def _check_partial_head(self, buffer: bytes, end: int) -> None:
        """Refuse at once what can't become a head: too long, a bare LF, or no text at all."""
        if not _METHOD.match(buffer):
            raise RequestError(400, "not an HTTP request")
        if b"\n" not in buffer[: self._searched]:
            check_request_line(buffer[: self._max_head])
        if has_illegal(buffer, max(0, self._searched - 1), self._max_head):
            raise RequestError(400, ILLEGAL_WORDS)
        if len(buffer) >= self._max_head or end >= 0:
            if b"\n" not in buffer[: self._max_head]:
                raise RequestError(414, "request line too long")
            raise RequestError(431, f"head larger than {self._max_head} bytes")

    def _read_chunks(self) -> bytes | Signal:
        chunks = self._chunks
        assert chunks is not None
        if not self._buffer:
            return NEED_DATA
        data = chunks.receive_data(self._buffer)
        self._buffer = b""
        self._body += len(data)
        if self._body > self._max_body:
            raise RequestError(413, f"body larger than {self._max_body} bytes")
        if chunks.is_complete:
            self._buffer = chunks.leftover
            self._chunks = None
            self._state = _State.END
            return data or self._next_event()  # type: ignore[return-value]
        return data or NEED_DATA
