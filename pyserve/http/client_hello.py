"""Step 3 of the request path, on https listeners: what a client asks for before there is anything secret.

Pure: bytes in, a ``ClientHello`` or ``HelloError`` out. Reads only what a site is chosen by, the name (RFC 6066 §3)
and the protocols (RFC 7301 §3.1), and leaves all judgement of cryptography to the library that gets the same bytes.
Sources: RFC 8446 §4.1.2 and §5.1, RFC 5246 §7.4.1.2.

HOT: once per handshake (benchmarks/tls_handshakes.py).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

MAX_HELLO_BYTES = 32 * 1024
"""Post-quantum shares and a resumed session make 2 to 4 KiB."""
_MAX_RECORDS = 64
_MAX_PROTOCOLS = 64
_RECORD_BYTES = 16384

# Alerts (RFC 8446 §6).
UNEXPECTED_MESSAGE = 10
RECORD_OVERFLOW = 22
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16
_EXTENSION = struct.Struct(">HH")


class ClientHello(NamedTuple):
    server_name: str
    """In lower case, without a dot at its end; "" = none was sent."""
    protocols: tuple[bytes, ...]
    """By ALPN, in the client's order; () = it has no such extension."""


class HelloError(Exception):
    """These bytes are no ClientHello. ``alert``: what TLS says to that; 0 = the client does not speak TLS at all."""

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


def read_client_hello(data: bytes | bytearray) -> ClientHello | None:
    """Return what the bytes from the connection's first one on say; None = it has not come whole yet.

    Raises ``HelloError``. What may follow behind the message is not looked at.
    """
    if not data:
        return None
    if data[0] != _HANDSHAKE:
        raise HelloError(0, "it does not speak TLS")
    if len(data) >= 2 and data[1] != 3:
        raise HelloError(0, "it does not speak TLS")
    message = _join_records(data)
    if message is None:
        return None
    try:
        return _read_message(message)
    except IndexError:
        raise HelloError(DECODE_ERROR, "the ClientHello is cut short") from None


def _join_records(data: bytes | bytearray) -> bytes | None:
    """Return the whole handshake message without its header; it may lie in several records (RFC 8446 §5.1)."""
    if len(data) >= 9:  # nearly always it is one record
        length = data[3] << 8 | data[4]
        wanted = data[6] << 16 | data[7] << 8 | data[8]
        if data[5] == _CLIENT_HELLO and wanted + 4 == length <= _RECORD_BYTES and len(data) >= 5 + length:
            return bytes(data[9 : 5 + length])
    pieces: list[bytes] = []
    have = at = 0
    for _ in range(_MAX_RECORDS):
        if len(data) < at + 5:
            return None
        if data[at] != _HANDSHAKE or data[at + 1] != 3:
            raise HelloError(UNEXPECTED_MESSAGE, "another message in the middle of the ClientHello")
        length = data[at + 3] << 8 | data[at + 4]
        if not length:
            raise HelloError(UNEXPECTED_MESSAGE, "an empty record")
        if length > _RECORD_BYTES:
            raise HelloError(RECORD_OVERFLOW, "a record is too long")
        piece = bytes(data[at + 5 : at + 5 + length])
        pieces.append(piece)
        have += len(piece)
        first = piece if len(pieces) == 1 else b"".join(pieces)
        pieces = [first]
        if have and first[0] != _CLIENT_HELLO:
            raise HelloError(UNEXPECTED_MESSAGE, "the first message is no ClientHello")
        if have >= 4:
            wanted = 4 + (first[1] << 16 | first[2] << 8 | first[3])
            if wanted > MAX_HELLO_BYTES:
                raise HelloError(ILLEGAL_PARAMETER, "the ClientHello is too long")
            if have >= wanted:
                return first[4:wanted]
        at += 5 + length
        if len(piece) < length:
            return None
    raise HelloError(UNEXPECTED_MESSAGE, "the ClientHello is in too many pieces")


def _read_message(message: bytes) -> ClientHello:
    at = 34  # version, random
    at += 1 + message[at]  # session id
    at += 2 + (message[at] << 8 | message[at + 1])  # cipher suites
    at += 1 + message[at]  # compression methods
    if at > len(message):
        raise IndexError
    if at == len(message):
        return ClientHello("", ())
    end = at + 2 + (message[at] << 8 | message[at + 1])
    if end != len(message):
        raise HelloError(DECODE_ERROR, "the extensions have another length than they say")
    at += 2
    name: bytes | None = None
    protocols: bytes | None = None
    unpack = _EXTENSION.unpack_from
    last = end - 4
    while at <= last:
        kind, length = unpack(message, at)
        start = at + 4
        at = start + length
        if kind == _SERVER_NAME:
            if name is not None:
                raise HelloError(ILLEGAL_PARAMETER, "an extension comes twice")
            name = message[start:at]
        elif kind == _ALPN:
            if protocols is not None:
                raise HelloError(ILLEGAL_PARAMETER, "an extension comes twice")
            protocols = message[start:at]
    if at != end:
        raise IndexError
    return ClientHello(
        "" if name is None else _read_server_name(name), () if protocols is None else _read_protocols(protocols)
    )


@lru_cache(maxsize=4096)
def _read_server_name(extension: bytes) -> str:
    """Return the host name; the list has one entry, for there is one type and no type may come twice."""
    if len(extension) < 5 or extension[0] << 8 | extension[1] != len(extension) - 2:
        raise HelloError(DECODE_ERROR, "the server name is cut short")
    if extension[2] != 0:
        return ""  # a type that nobody has defined
    length = extension[3] << 8 | extension[4]
    name = extension[5 : 5 + length]
    if len(name) != length or 5 + length != len(extension) or not name:
        raise HelloError(DECODE_ERROR, "the server name is cut short")
    if len(name) > 255 or not name.isascii() or b"\0" in name:
        raise HelloError(ILLEGAL_PARAMETER, "the server name is none")
    return name.decode("ascii").lower().removesuffix(".")


@lru_cache(maxsize=256)
def _read_protocols(extension: bytes) -> tuple[bytes, ...]:
    if len(extension) < 4 or extension[0] << 8 | extension[1] != len(extension) - 2:
        raise HelloError(DECODE_ERROR, "the list of protocols is cut short")
    protocols: list[bytes] = []
    at = 2
    while at < len(extension):
        length = extension[at]
        protocol = extension[at + 1 : at + 1 + length]
        if not length or len(protocol) != length:
            raise HelloError(DECODE_ERROR, "the list of protocols is cut short")
        if len(protocols) < _MAX_PROTOCOLS:
            protocols.append(protocol)
        at += 1 + length
    return tuple(protocols)


def alert_record(alert: int) -> bytes:
    """Return a fatal alert as it is sent before anything is encrypted (RFC 8446 §6)."""
    return b"\x15\x03\x03\x00\x02\x02%c" % alert
