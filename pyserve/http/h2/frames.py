"""Steps 4 and 6 of the request path: what HTTP/2 frames look like (RFC 9113 §4, §6, §7). Pure: constants and bytes."""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types of frames.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16
"""RFC 9218 §7.1."""

# Flags.
END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

# Error codes.
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
HTTP_1_1_REQUIRED: Final = 13

CODE_NAMES: Final = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

# Settings.
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8
"""RFC 8441 §3."""
NO_RFC7540_PRIORITIES: Final = 9
"""RFC 9218 §2.1."""
SWITCHES: Final = frozenset((ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES))

DEFAULT_WINDOW: Final = 65_535
MIN_MAX_FRAME: Final = 16_384
MAX_MAX_FRAME: Final = 2**24 - 1
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM: Final = 2**31 - 1

_HEADER = struct.Struct(">HBBBI")
pack_header: Final = _HEADER.pack
"""Of a frame: length // 256, length % 256, type, flags, stream."""
unpack_header: Final = _HEADER.unpack_from
HEADER_BYTES: Final = 9

ACKED_SETTINGS: Final = b"\0\0\0\x04\x01\0\0\0\0"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return pack_header(size >> 8, size & 255, kind, flags, stream) + payload


def rst_stream(stream: int, code: int) -> bytes:
    return b"\0\0\x04\x03\0%b%b" % (stream.to_bytes(4, "big"), code.to_bytes(4, "big"))


def window_update(stream: int, increment: int) -> bytes:
    return b"\0\0\x04\x08\0%b%b" % (stream.to_bytes(4, "big"), increment.to_bytes(4, "big"))


def goaway(last_stream: int, code: int) -> bytes:
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big"))


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join([struct.pack(">HI", key, value) for key, value in values.items()]))


def code_name(code: int) -> str:
    return CODE_NAMES[code] if code < len(CODE_NAMES) else f"error {code}"
