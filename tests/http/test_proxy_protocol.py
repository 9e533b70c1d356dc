"""PROXY protocol headers, versions 1 and 2: whole, byte by byte, and what is refused."""

from __future__ import annotations

import socket
import struct

import pytest

from pyserve.errors import RequestError
from pyserve.http.proxy_protocol import MAX_V1_BYTES, Proxied, ProxyHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
BEHIND = b"GET / HTTP/1.1\r\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 4711, 80)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 1, 2)
)


def v2(payload: bytes, family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload) if length is None else length) + payload


def tlv(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("!BH", kind, len(value) if length is None else length) + value


FOUR = Proxied(("192.0.2.1", 4711), ("10.0.0.1", 80), "http")
NOBODY = Proxied(None, None, "http")
GOOD = {
    "v1 IPv4": (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n", FOUR),
    "v1 IPv6": (
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
        Proxied(("2001:db8::1", 1), ("2001:db8::2", 2), "http"),
    ),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", NOBODY),
    "v1 unknown with addresses": (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n", NOBODY),
    "v2 IPv4": (v2(V4), FOUR),
    "v2 IPv6": (v2(V6, 0x21), Proxied(("2001:db8::1", 1), ("2001:db8::2", 2), "http")),
    "v2 local": (v2(b"", 0x00, 0x20), NOBODY),
    "v2 local with anything": (v2(V4 + b"\xff", 0x11, 0x20), NOBODY),
    "v2 unspecified": (v2(b"junk", 0x00), NOBODY),
    "v2 Unix": (v2(bytes(216), 0x31), NOBODY),
    "v2 with TLVs": (v2(V4 + tlv(1, b"h2") + tlv(5, b"id")), FOUR),
    "v2 over TLS": (v2(V4 + tlv(0x20, b"\x01\0\0\0\0")), FOUR._replace(scheme="https")),
    "v2 over clear text": (v2(V4 + tlv(0x20, b"\x00\0\0\0\1")), FOUR),
}
BAD = {
    "no header": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "v1 in lower case": b"proxy TCP4 192.0.2.1 10.0.0.1 4711 80\r\n",
    "v1 ended by LF": b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\n",
    "v1 too long": b"PROXY UNKNOWN " + b"x" * MAX_V1_BYTES,
    "v1 with a long tail": b"PROXY UNKNOWN " + b"x" * MAX_V1_BYTES + b"\r\n",
    "v1 two spaces": b"PROXY TCP4  192.0.2.1 10.0.0.1 4711 80\r\n",
    "v1 another family": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "v1 UDP": b"PROXY UDP4 192.0.2.1 10.0.0.1 4711 80\r\n",
    "v1 a port too large": b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
    "v1 a port with a zero in front": b"PROXY TCP4 192.0.2.1 10.0.0.1 04711 80\r\n",
    "v1 no address": b"PROXY TCP4 256.0.2.1 10.0.0.1 4711 80\r\n",
    "v1 fields missing": b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n",
    "v2 version 3": v2(V4, command=0x31),
    "v2 unknown command": v2(V4, command=0x22),
    "v2 UDP": v2(V4, 0x12),
    "v2 unknown family": v2(V4, 0x41),
    "v2 addresses cut": v2(V4[:11]),
    "v2 IPv6 addresses cut": v2(V4, 0x21),
    "v2 Unix addresses cut": v2(bytes(215), 0x31),
    "v2 a length beyond any sense": v2(V4, length=65535),
    "v2 a TLV beyond the end": v2(V4 + tlv(1, b"x", 200)),
    "v2 half a TLV": v2(V4 + b"\x01\0"),
    "v2 TLS with nothing in it": v2(V4 + tlv(0x20, b"\x01")),
}


def feed(header: ProxyHeader, data: bytes) -> None:
    for at in range(len(data)):
        assert header.receive_data(data[at : at + 1]) is None


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_however_it_comes(name: str) -> None:
    data, expected = GOOD[name]
    whole = ProxyHeader()
    assert whole.receive_data(data + BEHIND) == expected
    assert whole.leftover == BEHIND
    cut = ProxyHeader()
    feed(cut, data[:-1])
    assert cut.receive_data(data[-1:]) == expected
    assert cut.leftover == b""


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused_however_it_comes(name: str) -> None:
    data = BAD[name]
    with pytest.raises(RequestError):
        ProxyHeader().receive_data(data)
    with pytest.raises(RequestError):
        feed(ProxyHeader(), data)


def test_a_header_that_lies_about_its_length_takes_nothing_but_that_length() -> None:
    header = ProxyHeader()
    assert header.receive_data(v2(V4 + tlv(4, b""), length=len(V4)) + BEHIND) == FOUR
    assert header.leftover == tlv(4, b"") + BEHIND
