"""Step 3 of the request path: the PROXY protocol header that a load balancer writes before anything else.

Pure. Versions 1 and 2 of HAProxy's proxy-protocol.txt (the § below are its own). A listener either has one before
every connection or never reads one: guessing would let any client choose its address. What is malformed is refused
whole.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import NamedTuple

from pyserve.errors import RequestError

Address = tuple[str, int]

MAX_V1_BYTES = 107
"""With its CRLF (§2.1)."""
MAX_V2_BYTES = 16 + 4096
"""§2.2 lets a sender go to 65,551; what senders add to the addresses are a few hundred bytes."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?"
    rb"|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))"
)
_HEADER = struct.Struct("!BBH")
_V4 = struct.Struct("!4s4sHH")
_V6 = struct.Struct("!16s16sHH")
_UNIX_BYTES = 216
_TLV = struct.Struct("!BH")
_TLV_SSL = 0x20
_CLIENT_SSL = 0x01
_LOCAL, _PROXY = 0, 1


class Proxied(NamedTuple):
    """Who really connected. Without addresses (LOCAL, UNKNOWN, UNSPEC, a Unix socket) it is who connected to us."""

    source: Address | None
    destination: Address | None
    scheme: str
    """"https" where the sender says that the client came over TLS, else "http"."""


_NOBODY = Proxied(None, None, "http")


class ProxyHeader:
    """``receive_data`` until it returns something; what came behind the header is ``leftover``."""

    __slots__ = ("_buffer", "leftover")

    def __init__(self) -> None:
        self._buffer = b""
        self.leftover = b""

    def receive_data(self, data: bytes) -> Proxied | None:
        """Return what the header says once it is whole; raise ``RequestError`` for anything else than a header."""
        buffer = self._buffer = self._buffer + data
        if buffer[:12] == _SIGNATURE[: len(buffer)]:
            return self._read_v2(buffer)
        if buffer[:6] == b"PROXY "[: len(buffer)]:
            return self._read_v1(buffer)
        raise RequestError(400, "no PROXY protocol header")

    def _read_v1(self, buffer: bytes) -> Proxied | None:
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) >= MAX_V1_BYTES or b"\n" in buffer:
                raise RequestError(400, "malformed PROXY protocol header")
            return None
        match = _V1.fullmatch(buffer, 0, end)
        if match is None or end + 2 > MAX_V1_BYTES:
            raise RequestError(400, "malformed PROXY protocol header")
        self.leftover = buffer[end + 2 :]
        family, source, destination, source_port, destination_port = match.groups()
        if family is None:
            return _NOBODY
        return Proxied(
            _address(source.decode("ascii"), int(source_port), int(family)),
            _address(destination.decode("ascii"), int(destination_port), int(family)),
            "http",
        )

    def _read_v2(self, buffer: bytes) -> Proxied | None:
        if len(buffer) < 16:
            return None
        version, family, length = _HEADER.unpack_from(buffer, 12)
        if version >> 4 != 2 or version & 15 not in (_LOCAL, _PROXY) or 16 + length > MAX_V2_BYTES:
            raise RequestError(400, "malformed PROXY protocol header")
        if len(buffer) < 16 + length:
            return None
        payload = buffer[16 : 16 + length]
        self.leftover = buffer[16 + length :]
        if version & 15 == _LOCAL:  # the sender's own check: addresses and all the rest are to be ignored (§2.2)
            return _NOBODY
        return _read_addresses(family, payload)


def _read_addresses(family: int, payload: bytes) -> Proxied:
    """Return what the addresses and the TLVs of a version 2 header say (§2.2)."""
    source = destination = None
    if family in (0x11, 0x21):  # TCP over IPv4, over IPv6
        layout = _V4 if family == 0x11 else _V6
        if len(payload) < layout.size:
            raise RequestError(400, "PROXY protocol header too short for its addresses")
        from_bytes, to_bytes, from_port, to_port = layout.unpack_from(payload)
        source = (str(ipaddress.ip_address(from_bytes)), from_port)
        destination = (str(ipaddress.ip_address(to_bytes)), to_port)
        rest = payload[layout.size :]
    elif family == 0x31:
        if len(payload) < _UNIX_BYTES:
            raise RequestError(400, "PROXY protocol header too short for its addresses")
        rest = payload[_UNIX_BYTES:]
    elif family == 0x00:  # UNSPEC
        return _NOBODY
    else:
        raise RequestError(400, "PROXY protocol header for something else than a stream")
    return Proxied(source, destination, _read_scheme(rest))


def _read_scheme(rest: bytes) -> str:
    """Walk the TLVs (§2.2.1): each has to end inside the header; the one on TLS tells the scheme."""
    scheme = "http"
    at = 0
    while at < len(rest):
        if at + 3 > len(rest):
            raise RequestError(400, "PROXY protocol header with a cut TLV")
        kind, length = _TLV.unpack_from(rest, at)
        value = rest[at + 3 : at + 3 + length]
        if len(value) != length:
            raise RequestError(400, "PROXY protocol header with a TLV that goes beyond its end")
        if kind == _TLV_SSL:
            if length < 5:
                raise RequestError(400, "PROXY protocol header with a cut TLV")
            if value[0] & _CLIENT_SSL:
                scheme = "https"
        at += 3 + length
    return scheme


def _address(text: str, port: int, version: int) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise RequestError(400, "PROXY protocol header with an address that is none") from None
    if address.version != version or port > 65535:
        raise RequestError(400, "PROXY protocol header with an address of another family")
    return str(address), port
