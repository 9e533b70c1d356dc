"""``wsgi.input``: the request's body as PEP 3333 wants it read.

I/O: none of its own; it takes the chunks that the runner put on the stream, asks the runner to wait for more, and
returns credit when half a window was taken. Never gives a byte of another stream; raises ``ClientGone`` when the rest
will never come.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..wire.frames import CREDIT_BODY, WINDOW, number_frame
from .wsgi import ClientGone, WsgiStream

_GONE = "the client has gone before its request body was complete"


class Input:
    """Reads block until they have what was asked for, or the body's end. Not for two threads at once."""

    __slots__ = ("_at", "_buffer", "_expected", "_stream")

    def __init__(self, stream: WsgiStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self._expected = WINDOW  # bytes that the front has credit for and this has not seen

    def read(self, size: int | None = -1) -> bytes:
        if self._stream.is_gone:
            raise ClientGone(_GONE)  # here too: a reader of small pieces may come to `_next` much later
        if size is None or size < 0:
            parts = [self._buffer[self._at :]]
            while chunk := self._next():
                parts.append(chunk)
            self._buffer, self._at = b"", 0
            return b"".join(parts)
        at = self._at
        if len(self._buffer) - at >= size:
            self._at = at + size
            return self._buffer[at : at + size]
        parts = [self._buffer[at:]]
        missing = size - len(parts[0])
        self._buffer, self._at = b"", 0
        while missing > 0:
            chunk = self._next()
            if not chunk:
                break
            if len(chunk) > missing:
                parts.append(chunk[:missing])
                self._buffer, self._at = chunk, missing
                break
            parts.append(chunk)
            missing -= len(chunk)
        return b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        if self._stream.is_gone:
            raise ClientGone(_GONE)
        limit = -1 if size is None or size < 0 else size
        if limit == 0:
            return b""
        parts = []
        taken = 0
        while True:
            if self._at >= len(self._buffer):
                self._buffer, self._at = self._next(), 0
                if not self._buffer:
                    break
            end = self._buffer.find(b"\n", self._at) + 1 or len(self._buffer)
            if limit >= 0:
                end = min(end, self._at + limit - taken)
            part = self._buffer[self._at : end]
            self._at = end
            parts.append(part)
            taken += len(part)
            if taken == limit or part.endswith(b"\n"):
                break
        return b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if line:
            return line
        raise StopIteration

    def _next(self) -> bytes:
        """Return the next chunk; b"" = the body is over."""
        stream = self._stream
        while True:
            if stream.is_gone:
                raise ClientGone(_GONE)
            # SAFETY: looked at before the chunks, because a reader thread adds the last chunk before it says so.
            is_whole = stream.has_whole_body
            if stream.chunks:
                chunk = stream.chunks.popleft()
                self._expected -= len(chunk)
                if not is_whole and not stream.is_over:
                    stream.unreturned += len(chunk)
                    if stream.unreturned >= WINDOW // 2:
                        stream.channel.out.append(number_frame(CREDIT_BODY, stream.number, stream.unreturned))
                        stream.channel.flush()
                        self._expected += stream.unreturned
                        stream.unreturned = 0
                return chunk
            if is_whole:
                return b""
            if stream.is_over and self._expected <= 0 and self._is_cut_off():
                raise ClientGone("the answer was complete before the rest of the request body was asked for")
            stream.runner.wait_for_body(stream)

    def _is_cut_off(self) -> bool:
        """After a complete answer the front sends what it has credit for, then nothing: is that all here?"""
        stream = self._stream
        with stream.runner.lock:  # a reader thread adds the last chunk and says so in one step
            return not (stream.chunks or stream.has_whole_body)
