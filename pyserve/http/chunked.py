"""Chunked request bodies (RFC 9112 §7.1), read strictly.

Pure. Neither parser looks at chunk lines closely enough to be the only one that does, so this is ours: every line
ends in CRLF and nothing else, sizes are plain hexadecimal, extensions and trailers are counted and thrown away.
"""

from __future__ import annotations

import re

from pyserve.errors import RequestError

MAX_LINE_BYTES = 256
"""Of a size with its extensions and CRLF: an incomplete one is looked at again with every byte that comes."""
MAX_EXTENSION_BYTES = 16 * 1024
MAX_TRAILER_BYTES = 8 * 1024
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
# RFC 9112 §7.1 and §7.1.1, but no white space before a semicolon: what stands behind a size has to be one thing to
# all readers. Fifteen digits are more than any body.
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})((?:;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*)\r\n" % (_TOKEN, _TOKEN, _QUOTED)
)
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t\x20-\x7e\x80-\xff]*")
FORBIDDEN_TRAILERS = frozenset(
    (b"content-length", b"transfer-encoding", b"host", b"authorization", b"content-encoding", b"content-type",
     b"content-range", b"trailer", b"te", b"cookie", b"expect", b"connection", b"upgrade")
)  # fmt: skip


class ChunkedDecoder:
    """Feed it bytes; it returns body bytes and keeps what is incomplete.

    ``is_complete`` once the trailers are over.
    """

    __slots__ = (
        "_buffer",
        "_extension_bytes",
        "_in_trailers",
        "_max_trailers",
        "_needs_crlf",
        "_remaining",
        "_trailer_bytes",
        "_trailers",
        "is_complete",
    )

    def __init__(self, max_trailers: int) -> None:
        self._buffer = b""
        self._remaining = 0  # of the current chunk's data
        self._needs_crlf = False  # the data is over, its CRLF is due
        self._in_trailers = False
        self._extension_bytes = 0
        self._trailer_bytes = self._trailers = 0
        self._max_trailers = max_trailers
        self.is_complete = False

    def receive_data(self, data: bytes) -> bytes:
        """Return the body bytes in ``data``; raise ``RequestError`` (400). After the end, see ``leftover``."""
        buffer = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        at = 0
        end = len(buffer)
        while at < end:
            if self._remaining:
                piece = buffer[at : at + self._remaining]
                pieces.append(piece)
                at += len(piece)
                self._remaining -= len(piece)
                self._needs_crlf = self._remaining == 0
                continue
            if self._needs_crlf:
                if buffer[at : at + 2] != b"\r\n":
                    if buffer[at:] == b"\r":
                        break
                    raise RequestError(400, "chunk data without its CRLF")
                at += 2
                self._needs_crlf = False
                continue
            if self._in_trailers:
                at = self._read_trailers(buffer, at)
                break
            line = _SIZE_LINE.match(buffer, at)
            if line is None:
                self._check_partial_line(buffer, at)
                break
            if line.end() - at > MAX_LINE_BYTES:
                raise RequestError(400, "chunk line too long")
            if line[2]:
                self._extension_bytes += len(line[2])
                if self._extension_bytes > MAX_EXTENSION_BYTES:
                    raise RequestError(400, "too many bytes of chunk extensions")
            at = line.end()
            size = int(line[1], 16)
            stop = at + size
            if not size:
                self._in_trailers = True
            elif buffer[stop : stop + 2] == b"\r\n":
                # All of it is here: a million tiny chunks are to cost no more than a second (A13).
                pieces.append(buffer[at:stop])
                at = stop + 2
            else:
                self._remaining = size
        self._buffer = buffer[at:]
        return b"".join(pieces)

    @property
    def leftover(self) -> bytes:
        """Bytes behind the end of the body: the next request."""
        return self._buffer

    def _read_trailers(self, buffer: bytes, at: int) -> int:
        """Read complete trailer lines; return the position behind them. In an order that no cut changes."""
        while True:
            end = buffer.find(b"\r\n", at)
            if end == at:
                self.is_complete = True
                return at + 2
            line = buffer[at : end if end >= 0 else len(buffer)]
            room = MAX_TRAILER_BYTES - self._trailer_bytes
            if _ILLEGAL_IN_LINE.search(line[:room]):
                raise RequestError(400, "control character in a trailer")
            if len(line) > room:
                raise RequestError(431, "trailers too large")
            if end < 0:
                return at
            self._trailers += 1
            if self._trailers > self._max_trailers:
                raise RequestError(431, "too many trailers")
            match = _TRAILER.fullmatch(line)
            if not match or match[1].lower() in FORBIDDEN_TRAILERS:
                raise RequestError(400, "malformed or forbidden trailer")
            self._trailer_bytes += len(line) + 2
            at = end + 2

    @staticmethod
    def _check_partial_line(buffer: bytes, at: int) -> None:
        """No full size line yet: fine only if what is there can still become one."""
        if len(buffer) - at >= MAX_LINE_BYTES:
            raise RequestError(400, "chunk line too long")
        if not _PARTIAL_SIZE_LINE.fullmatch(buffer, at):
            raise RequestError(400, "malformed chunk line")


_ILLEGAL_IN_LINE = re.compile(rb"\r(?!\Z)|[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]")
_PARTIAL_SIZE_LINE = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?)?")
