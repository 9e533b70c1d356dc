"""Frames: ``length u32, type u8, stream u32``, then ``length`` bytes of payload; little-endian.

Pure. A splitter turns received bytes into frames, whatever way they were cut; a frame that breaks the rules raises
``WireError``, and whoever reads it must give up on the other side (what a worker sends is hostile input).

HOT: one splitter call per loop turn and channel handles every frame of that turn (benchmarks/hello_wsgi.py).
"""

from __future__ import annotations

import struct

VERSION = 4
"""Said by the worker in HELLO; a front that knows another version refuses it."""

HEADER = struct.Struct("<IBI")
HEADER_BYTES = HEADER.size  # 9
MAX_PAYLOAD = 64 * 1024
MAX_HEAD_PAYLOAD = 256 * 1024
"""Request and answer heads may be longer than a body frame: a head of max_head bytes must always fit."""
WINDOW = 256 * 1024
"""Body bytes of one stream and direction that may be under way without credit."""
FILE_COST = WINDOW // 2
"""What a file costs of that credit, however long it is: it comes back when the front has closed the file."""
FILES_AT_ONCE = WINDOW // FILE_COST
"""So many descriptors of one stream may be under way or open in the front."""
MAX_HINTS = 16
"""So many HINTS a worker sends for one start of a stream: credit does not hold them back."""
MAX_REASON = 123
"""Bytes of a close reason (RFC 6455 §5.5)."""
MAX_LINES = 16 * 1024
"""Bytes of one HINTS or TRAILERS: more lines no client takes beside those of a head."""

# Front to worker, on the data channel.
REQUEST = 1  # flags u8, peer_length u16, peer blob, head blob (see codec)
BODY = 2  # bytes of the request body
BODY_LAST = 3  # the last bytes of it, possibly none

SOCKET = 4  # as REQUEST: the handshake of a WebSocket
SOCKET_CLOSED = 5  # code u16, reason UTF-8: nothing more comes of this client; answered by SOCKET_TOLD
SOCKET_GONE = 6  # the same, and nothing more goes to it

# Worker to front, on the data channel.
HELLO = 16  # interface u8, wire version u8; stream 0; once, when the application is ready
ANSWER = 17  # status u16, flags u8, content_length i64, head_length u32, head, body bytes (see codec)
DATA = 18  # bytes of the answer's body
DATA_LAST = 19  # the last bytes of it, possibly none: the stream is over
FAILED = 20  # the application failed: traceback, UTF-8; the stream is over
CREDIT_BODY = 21  # u32: that many bytes of the request body were taken by the application
BUSY = 22  # not started, take it back: the worker runs as much as it may
WANT_BODY = 23  # the application asked for the body for the first time (only where EXPECTS was set)
LOG = 24  # level u8, text UTF-8: a line for the error log
FILE = 25  # offset u64, count u64: bytes of the answer's body that are in a file, whose DESCRIPTOR was sent before
FILE_LAST = 26  # the same, and the stream is over
HINTS = 27  # lines of a 103 answer (RFC 8297), before the ANSWER; any number up to MAX_HINTS
TRAILERS = 28  # lines behind the body (RFC 9110 §6.5), possibly none: the stream is over

SOCKET_ACCEPT = 29  # subprotocol_length u8, subprotocol, lines of the 101 answer
SOCKET_CLOSE = 30  # code u16, reason UTF-8: the stream is over
SOCKET_TOLD = 31  # what came before SOCKET_CLOSED was received, and so was that

# Both ways on the data channel, between SOCKET_ACCEPT and the end: messages of a WebSocket. Each costs its length and
# MESSAGE_COST of the window.
SOCKET_PIECE = 64  # bytes of a message that goes on (to the worker: of either kind)
SOCKET_TEXT = 65  # the last bytes of a text, or all
SOCKET_BINARY = 66  # the same of bytes
SOCKET_TEXT_PIECE = 67  # to the front only: bytes of a text that goes on
SOCKET_BINARY_PIECE = 68
MESSAGE_COST = 64

# Front to worker, on the control channel.
CREDIT = 32  # u32: that many bytes of the answer were taken by the front
DISCONNECT = 33  # nobody waits for this answer any more
HALF_CLOSED = 35  # the client sends nothing more; it may still read the answer
RECALL = 34  # give it back if it has not started
STACK = 36  # say where it is just now

# Worker to front, on the control channel.
RECALLED = 48  # it had not started and never will
STACK_TEXT = 50  # UTF-8: the stack of a stream that was asked for; empty = it does not run here
DESCRIPTOR = 49  # with one descriptor beside it (SCM_RIGHTS): the file of the stream's next FILE or FILE_LAST

_HEADS = (REQUEST, ANSWER, SOCKET, SOCKET_ACCEPT)

WSGI = 1
ASGI = 2
INTERFACE_NAMES = {WSGI: "wsgi", ASGI: "asgi"}


class WireError(Exception):
    """The other side broke the rules of the wire."""


class Splitter:
    """Received bytes to frames. ``feed`` returns every complete frame and keeps the rest for the next call."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Return ``(type, stream, payload)`` of each complete frame; raise ``WireError`` on an impossible length."""
        if self._rest:
            data = self._rest + data
        frames = []
        at = 0
        end = len(data)
        unpack = HEADER.unpack_from
        while end - at >= 9:
            length, kind, stream = unpack(data, at)
            if length > MAX_PAYLOAD and (length > MAX_HEAD_PAYLOAD + MAX_PAYLOAD or kind not in _HEADS):
                raise WireError(f"frame of {length} bytes, type {kind}")
            next_at = at + 9 + length
            if next_at > end:
                break
            frames.append((kind, stream, data[at + 9 : next_at]))
            at = next_at
        self._rest = data[at:] if at < end else b""
        return frames


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame as bytes."""
    return HEADER.pack(len(payload), kind, stream) + payload


_U32 = struct.Struct("<I")


def number_frame(kind: int, stream: int, number: int) -> bytes:
    """Return a frame whose payload is one u32 (CREDIT, CREDIT_BODY)."""
    return HEADER.pack(4, kind, stream) + _U32.pack(number)


def number(payload: bytes) -> int:
    """Return the u32 of a CREDIT or CREDIT_BODY payload; raise ``WireError`` if it is anything else."""
    if len(payload) != 4:
        raise WireError(f"a credit of {len(payload)} bytes")
    return int.from_bytes(payload, "little")


_FILE_FRAME = struct.Struct("<IBIQQ")
_FILE = struct.Struct("<QQ")
_MOST_OFFSET = (1 << 63) - 1  # off_t


def file_frame(kind: int, stream: int, offset: int, count: int) -> bytes:
    """Return a FILE or FILE_LAST frame."""
    return _FILE_FRAME.pack(16, kind, stream, offset, count)


def unpack_file(payload: bytes) -> tuple[int, int]:
    """Return ``(offset, count)`` of a FILE or FILE_LAST payload; raise ``WireError`` if no file has such bytes."""
    if len(payload) != 16:
        raise WireError(f"a file frame of {len(payload)} bytes")
    offset, count = _FILE.unpack(payload)
    if offset + count > _MOST_OFFSET:
        raise WireError(f"{count} bytes of a file from {offset}")
    return offset, count


_CLOSE_FRAME = struct.Struct("<IBIH")


def close_frame(kind: int, stream: int, code: int, reason: str) -> bytes:
    """Return a SOCKET_CLOSE, SOCKET_CLOSED or SOCKET_GONE; of a reason only what a WebSocket's frame has room for."""
    raw = reason.encode("utf-8", "replace")[:MAX_REASON]
    return _CLOSE_FRAME.pack(2 + len(raw), kind, stream, code) + raw


def unpack_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of one of those; raise ``WireError`` if it is no such thing."""
    if not 2 <= len(payload) <= 2 + MAX_REASON:
        raise WireError(f"a close of {len(payload)} bytes")
    return int.from_bytes(payload[:2], "little"), payload[2:].decode("utf-8", "ignore")


def accept_frame(stream: int, protocol: str, block: bytes) -> bytes:
    """Return a SOCKET_ACCEPT."""
    raw = protocol.encode("ascii")
    return HEADER.pack(1 + len(raw) + len(block), SOCKET_ACCEPT, stream) + bytes((len(raw),)) + raw + block


def unpack_accept(payload: bytes) -> tuple[str, bytes]:
    """Return subprotocol ("" = none) and lines of a SOCKET_ACCEPT, neither checked; raise ``WireError`` if it is no
    such thing.
    """
    if not payload or len(payload) < 1 + payload[0]:
        raise WireError(f"an acceptance of {len(payload)} bytes")
    end = 1 + payload[0]
    return payload[1:end].decode("latin-1"), payload[end:]


def is_after(stream: int, other: int) -> bool:
    """Is ``stream`` younger than ``other``? Stream numbers of a channel grow and wrap at 2**32 (RFC 1982 order)."""
    return 0 < ((stream - other) & 0xFFFFFFFF) < 0x80000000
