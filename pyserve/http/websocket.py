"""Step 3 of the request path, of a WebSocket: bytes of a client become messages, messages become frames (RFC 6455 §5).

Pure: fed with bytes, read by ``next_event``; no clock, no socket. What a client sends is looked at as far as it has
come, so a wrong byte of text or one beyond the limit is found before the rest of its message. Whole messages come out,
but for long ones: those come as pieces, and nothing longer than a piece is ever kept here.

The frames are our own work, the mask is not (``http.masking``). Measured for an echo of 64 bytes, receiving and
sending: this 0.9 µs, ``websockets`` 2.9 µs, ``wsproto`` 8.3 µs; the last two have no pieces, and keep messages whole.

HOT: ``next_event`` and ``frame`` are every message (benchmarks/websocket_echo.py).
"""

from __future__ import annotations

import codecs
import struct
import zlib
from typing import TYPE_CHECKING

from pyserve.http.masking import apply_mask

if TYPE_CHECKING:
    from pyserve.http.websocket_deflate import Inflater

# Opcodes, and what events are.
PIECE = 0  # of a message that goes on
TEXT = 1
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10

# Close codes (RFC 6455 §7.4.1 and the IANA registry).
NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_CODE = 1005
ABNORMAL = 1006
INVALID_DATA = 1007
POLICY = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
RESTART = 1012
_MAY_BE_SENT = frozenset((*range(1000, 1004), *range(1007, 1015)))

PIECE_BYTES = 64 * 1024
MAX_CONTROL_BYTES = 125
MAX_IDLE_FRAMES = 1000
"""Frames that bring nothing (pings, pongs, empty fragments) between two calls of ``forgive``."""

_U16 = struct.Struct(">H")
_U64 = struct.Struct(">Q")

Event = tuple[int, bytes]
"""An opcode and a payload: of CLOSE as ``read_close`` reads it."""


class Failure(Exception):
    """The client broke the rules: close with ``code`` and read nothing more of it (RFC 6455 §7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """``receive_data`` any bytes, then ``next_event`` until None. A ``Failure``, and CLOSE, are final."""

    __slots__ = (
        "_at",
        "_buffer",
        "_idle_frames",
        "_inflater",
        "_is_compressed",
        "_is_final",
        "_is_in_frame",
        "_is_over",
        "_kept",
        "_mask",
        "_max_bytes",
        "_opcode",
        "_remaining",
        "_size",
        "_undone",
        "_utf8",
    )

    def __init__(self, max_message_bytes: int, inflater: Inflater | None = None) -> None:
        """``inflater``: where permessage-deflate was agreed on."""
        self._max_bytes = max_message_bytes
        self._inflater = inflater
        self._buffer = b""
        self._at = 0
        self._opcode = 0  # of the message under way, 0 = none
        self._is_in_frame = False  # of data, whose payload has not come whole
        self._is_final = False
        self._is_compressed = False
        self._remaining = 0
        self._mask = b""
        self._size = 0  # of the message so far
        self._kept: bytearray | None = None  # of it, not given out
        self._undone: bytes | None = None  # of it, not inflated
        self._utf8: codecs.IncrementalDecoder | None = None
        self._idle_frames = 0
        self._is_over = False

    @property
    def buffered(self) -> int:
        return len(self._buffer) - self._at

    def receive_data(self, data: bytes) -> None:
        if self._at < len(self._buffer):
            data = self._buffer[self._at :] + data
        elif self._is_over:
            return
        self._buffer = data
        self._at = 0

    def forgive(self) -> None:
        """Time has passed: so many frames that bring nothing may come again."""
        self._idle_frames = 0

    def next_event(self) -> Event | None:
        """Return the next message, piece of one, or control frame; None = more bytes are needed.

        Raises ``Failure``; after that, and after CLOSE, not a byte more is read.
        """
        buffer = self._buffer
        at = self._at
        if not self._opcode and len(buffer) - at >= 6 and not self._is_over:
            # HOT: one whole frame that is one short message.
            first = buffer[at]
            length = buffer[at + 1] - 128
            end = at + 6 + length
            if (first == 0x81 or first == 0x82) and 0 <= length < 126 and end <= len(buffer):
                data = apply_mask(buffer[at + 6 : end], buffer[at + 2 : at + 6])
                if length <= self._max_bytes and (first == 0x82 or data.isascii() or _is_utf8(data)):
                    if end == len(buffer):
                        self._buffer = b""
                        self._at = 0
                    else:
                        self._at = end
                    return first & 15, data
        try:
            return self._next_event()
        except Failure:
            self._end()
            raise

    def _end(self) -> None:
        self._is_over = True
        self._buffer = b""
        self._at = 0
        self._kept = self._undone = self._utf8 = self._inflater = None

    def _next_event(self) -> Event | None:
        while not self._is_over:
            if self._is_in_frame:
                event = self._read_payload()
                if event is not None:
                    return event
                if self._is_in_frame:
                    return None
                continue
            buffer = self._buffer
            at = self._at
            have = len(buffer) - at
            if have < 2:
                break
            first = buffer[at]
            length = buffer[at + 1]
            opcode = first & 0x0F
            is_final = first >= 0x80
            self._check_start(first, length, opcode, is_final)
            length &= 0x7F
            head = 6
            if length == 126:
                head = 8
                if have < 4:
                    break
                length = _U16.unpack_from(buffer, at + 2)[0]
                if length < 126:
                    raise Failure(PROTOCOL_ERROR, "a length that is longer than it need be")
            elif length == 127:
                head = 14
                if have < 10:
                    break
                length = _U64.unpack_from(buffer, at + 2)[0]
                if length < 65536 or length >= 1 << 63:
                    raise Failure(PROTOCOL_ERROR, "a length that no frame has")
            if opcode < CLOSE and not (first & 0x40 if opcode else self._is_compressed):
                self._check_size(length if opcode else self._size + length)
            if have < head:
                break
            mask = buffer[at + head - 4 : at + head]
            if opcode >= CLOSE:
                if have < head + length:
                    break
                self._at = at + head + length
                payload = apply_mask(buffer[at + head : self._at], mask)
                self._count_idle()
                if opcode == CLOSE:
                    read_close(payload)
                    self._end()
                return opcode, payload
            self._at = at + head
            self._begin_frame(opcode, is_final, bool(first & 0x40), length, mask)
        if self._at and self._at == len(self._buffer):
            self._buffer = b""
            self._at = 0
        return None

    def _check_start(self, first: int, second: int, opcode: int, is_final: bool) -> None:
        """Look at the first two bytes of a frame, and raise ``Failure``."""
        reserved = first & 0x70
        if reserved and (reserved != 0x40 or self._inflater is None or opcode not in (TEXT, BINARY)):
            raise Failure(PROTOCOL_ERROR, "reserved bits")
        if second < 0x80:
            raise Failure(PROTOCOL_ERROR, "a frame without a mask")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise Failure(PROTOCOL_ERROR, f"opcode {opcode}")
            if not is_final:
                raise Failure(PROTOCOL_ERROR, "a control frame in fragments")
            if second & 0x7F > MAX_CONTROL_BYTES:
                raise Failure(PROTOCOL_ERROR, "a long control frame")
        elif opcode > BINARY:
            raise Failure(PROTOCOL_ERROR, f"opcode {opcode}")
        elif opcode and self._opcode:
            raise Failure(PROTOCOL_ERROR, "a message inside of another")
        elif not opcode and not self._opcode:
            raise Failure(PROTOCOL_ERROR, "a continuation of nothing")

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise Failure(TOO_BIG, f"a message of more than {self._max_bytes} bytes")

    def _count_idle(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES:
            raise Failure(POLICY, "too many frames that bring nothing")

    def _begin_frame(self, opcode: int, is_final: bool, is_compressed: bool, length: int, mask: bytes) -> None:
        if opcode:
            self._opcode = opcode
            self._is_compressed = is_compressed
            self._size = 0
            self._kept = bytearray()
            if opcode == TEXT:
                self._utf8 = codecs.getincrementaldecoder("utf-8")()
            if is_compressed:
                assert self._inflater is not None
                self._inflater.begin()
        self._is_in_frame = True
        self._is_final = is_final
        self._remaining = length
        self._mask = mask
        if not length and not is_final:
            self._count_idle()

    def _read_payload(self) -> Event | None:
        """Take what is here of a data frame. Return a piece or a message, None = nothing is to be given out yet."""
        while True:
            if self._undone is not None:
                self._inflate(self._undone)
            elif self._remaining:
                at = self._at
                end = min(at + self._remaining, len(self._buffer), at + PIECE_BYTES)
                if end == at:
                    return None
                data = apply_mask(self._buffer[at:end], self._mask)
                self._at = end
                count = end - at
                self._remaining -= count
                if self._remaining and count & 3:
                    self._mask = self._mask[count & 3 :] + self._mask[: count & 3]
                if self._is_compressed:
                    self._inflate(data)
                else:
                    self._keep(data)
            elif self._is_final and self._is_compressed:
                self._is_compressed = False  # all of it is there once this is inflated
                self._inflate(b"\x00\x00\xff\xff")
            else:
                break
            kept = self._kept
            assert kept is not None
            if len(kept) > PIECE_BYTES:
                piece = bytes(kept[:PIECE_BYTES])
                del kept[:PIECE_BYTES]
                return PIECE, piece
        self._is_in_frame = False
        if not self._is_final:
            return None
        self._check_text(b"", True)
        event = (self._opcode, bytes(kept) if (kept := self._kept) else b"")
        self._opcode = 0
        self._kept = self._utf8 = None
        if self._inflater is not None:
            self._inflater.end()
        return event

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        self._check_text(data, False)
        assert self._kept is not None
        self._kept += data

    def _inflate(self, data: bytes) -> None:
        """Inflate as much as is one piece. What is left waits in ``_undone``."""
        assert self._inflater is not None
        try:
            out, self._undone = self._inflater.inflate(data, PIECE_BYTES)
        except zlib.error:
            raise Failure(INVALID_DATA, "a message that can't be inflated") from None
        self._check_size(self._size + len(out))
        self._keep(out)

    def _check_text(self, data: bytes, is_last: bool) -> None:
        if self._utf8 is not None:
            try:
                self._utf8.decode(data, is_last)
            except UnicodeDecodeError:
                raise Failure(INVALID_DATA, "text that is no UTF-8") from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a CLOSE, ``NO_CODE`` where there is none; raise ``Failure`` for those that may not be
    sent (RFC 6455 §7.4).
    """
    if not payload:
        return NO_CODE, ""
    if len(payload) < 2:
        raise Failure(PROTOCOL_ERROR, "half a close code")
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        raise Failure(INVALID_DATA, "a reason that is no UTF-8") from None
    code = int.from_bytes(payload[:2], "big")
    if not is_close_code(code):
        raise Failure(PROTOCOL_ERROR, f"close code {code}")
    return code, reason


_SHORT = {opcode: [bytes((0x80 | opcode, length)) for length in range(126)] for opcode in (*range(3), *range(8, 11))}


def frame(opcode: int, payload: bytes, is_final: bool = True, is_compressed: bool = False) -> bytes:
    """Return a frame as a server sends it, without a mask. ``PIECE``: it goes on with a message that was begun."""
    length = len(payload)
    if length < 126 and is_final and not is_compressed:
        return _SHORT[opcode][length] + payload
    first = opcode | (0x80 if is_final else 0) | (0x40 if is_compressed else 0)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return b"%c\x7e%b%b" % (first, _U16.pack(length), payload)
    return b"%c\x7f%b%b" % (first, _U64.pack(length), payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a CLOSE; a reason that is too long is cut between two characters, ``NO_CODE`` sends none."""
    if code == NO_CODE:
        return frame(CLOSE, b"")
    raw = reason.encode("utf-8", "replace")
    if len(raw) > MAX_CONTROL_BYTES - 2:
        raw = raw[: MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore").encode()
    return frame(CLOSE, _U16.pack(code) + raw)


def is_close_code(code: int) -> bool:
    """May an application close with it?"""
    return code in _MAY_BE_SENT or 3000 <= code <= 4999
