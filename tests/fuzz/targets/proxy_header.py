"""A PROXY protocol header is read whole or refused, however it is cut; what stands behind it is left over to a byte."""

from __future__ import annotations

import ipaddress

from pyserve.errors import RequestError
from pyserve.http.proxy_protocol import MAX_V1_BYTES, MAX_V2_BYTES, Proxied, ProxyHeader
from tests.fuzz.chance import Chance, mostly, pick, repeat, some_bytes
from tests.fuzz.reading import check_refusal, cuts

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = (b"192.0.2.1", b"255.255.255.255", b"::1", b"2001:db8::1", b"::ffff:1.2.3.4")
NASTY_ADDRESSES = (
    b"", b"256.1.1.1", b"01.1.1.1", b"1.1.1", b"a", b":::", b"fe80::1%e", b"1.2.3.4 ", b"[::1]", b"\xb2.1.1.1",
)  # fmt: skip
PORTS = (b"0", b"80", b"65535")
NASTY_PORTS = (b"", b"65536", b"00", b"-1", b"080", b"99999", b"+1", b"8 0", b"\xb2")
FAMILIES = (b"\x11", b"\x21", b"\x00", b"\x31", b"\x12", b"\x41", b"\xff", b"\x01", b"\x10")
TLVS = (
    b"\x20\x00\x05\x01\x00\x00\x00\x00", b"\x04\x00\x00", b"\x04\x00\x02ab", b"\x20\x00\x04\x01\x00\x00\x00", b"\x04",
    b"\xff\xff\xff",
)  # fmt: skip
DICTIONARY = (
    SIGNATURE, b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"\r\n", b"\n", b"\x21\x11", b"\x20\x00",
    b"\x22\x11", *ADDRESSES, *NASTY_ADDRESSES[1:], *PORTS, *NASTY_PORTS[1:], *FAMILIES, *TLVS, b"\x00\x0c", b"\x00\x24",
    b"\xff\xff",
)  # fmt: skip


def make(chance: Chance) -> bytes:
    data = make_v1(chance) if chance.below(2) else make_v2(chance)
    return data + pick(chance, (b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"\x00", b"PROXY UNKNOWN\r\n"))


def make_v1(chance: Chance) -> bytes:
    family = mostly(chance, (b"TCP4", b"TCP6", b"UNKNOWN"), (b"TCP5", b"tcp4", b"", b"UDP4", b"TCP46"))
    words = [
        *(b"PROXY", family, mostly(chance, ADDRESSES, NASTY_ADDRESSES), mostly(chance, ADDRESSES, NASTY_ADDRESSES)),
        *(mostly(chance, PORTS, NASTY_PORTS), mostly(chance, PORTS, NASTY_PORTS)),
    ]
    if family == b"UNKNOWN" and chance.below(2):
        words = words[:2]
    line = mostly(chance, (b" ",), (b"  ", b"\t", b""), 30).join(words)
    return line + mostly(chance, (b"\r\n",), (b"\n", b"\r", b"", b"x" * 60 + b"\r\n", b" \r\n"))


def make_v2(chance: Chance) -> bytes:
    family = mostly(chance, FAMILIES[:4], FAMILIES, 4)
    size = {b"\x11": 12, b"\x21": 36, b"\x31": 216}.get(family, 0)
    payload = bytes(chance.below(256) for _ in range(min(size, 12))) + b"\0" * max(0, size - 12)
    payload += repeat(chance, 3, lambda _: mostly(chance, TLVS[:3], TLVS, 5))
    length = len(payload) if chance.below(10) else (0, 1, 11, 4096, 4097, 65535, len(payload) + 1)[chance.below(7)]
    version = mostly(chance, (b"\x21", b"\x20"), (b"\x22", b"\x11", b"\x00", b"\x2f", b"\x31"))
    return SIGNATURE + version + family + length.to_bytes(2, "big") + payload + some_bytes(chance, 2)


def seeds() -> tuple[bytes, ...]:
    return (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\nGET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN\r\n",
        SIGNATURE + b"\x21\x11\x00\x0c" + bytes(range(12)) + b"GET /",
        SIGNATURE + b"\x20\x00\x00\x00",
    )


def check(data: bytes) -> None:
    first = None
    for name, pieces in cuts(data):
        result = read(pieces)
        if first is None:
            first = result
        else:
            assert result == first, f"whole or {name}: {first} or {result}"
    assert first is not None
    proxied, rest = first
    if proxied is None or rest is None:
        return
    header = data[: len(data) - len(rest)]
    assert data.endswith(rest)
    assert len(header) <= (MAX_V2_BYTES if header[:1] == b"\r" else MAX_V1_BYTES)
    assert read([header]) == (proxied, b""), "what stands behind the header changes it"
    assert read([header[:-1]]) == (None, b""), "the header is over before its end"
    assert proxied.scheme in ("http", "https")
    assert (proxied.source is None) == (proxied.destination is None)
    for address in (proxied.source, proxied.destination):
        if address is not None:
            assert str(ipaddress.ip_address(address[0])) == address[0], "not an address in its own form"
            assert 0 <= address[1] < 65536


def read(pieces: list[bytes]) -> tuple[Proxied | None, bytes | None]:
    """Return what the header says and what stands behind it; a refusal has None for the latter."""
    header = ProxyHeader()
    for at, piece in enumerate(pieces):
        try:
            proxied = header.receive_data(piece)
        except RequestError as error:
            check_refusal(error)
            return None, None
        if proxied is not None:
            return proxied, header.leftover + b"".join(pieces[at + 1 :])
    return None, b""
