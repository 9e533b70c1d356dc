"""A Host that is accepted is one host: a name of letters, digits, "-", "_" and dots, or an IPv6 address in brackets."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from pyserve.errors import RequestError
from pyserve.http.target import parse_host, split_authority
from tests.fuzz import fragments as f
from tests.fuzz.chance import Chance, mostly, pick, repeat
from tests.fuzz.reading import check_refusal

LABELS = (b"a", b"A1", b"x-y", b"_dmarc", b"xn--a", b"1", b"x" * 63)
NASTY = (b"", b"-", b"a-", b"x" * 64, b"\xc3\xa9", b"\x00", b" ", b"a b", b"*", b"%61", b"@", b"/", b"\\", b",", b"\n")
SIX = (b"::", b":", b"1", b"ffff", b"0", b"abcd:", b"1:", b"1.2.3.4", b"12345", b"g", b"%25eth0", b"::1")
PORTS = (b"", b":80", b":65535", b":", b":0", b":65536", b":99999", b":080", b":+1", b":1:2", b":a", b":\xb2")
DICTIONARY = (*LABELS, *NASTY[1:], *SIX, *PORTS[1:], b".", b"[", b"]", *f.HOSTS)
_NAME = re.compile(r"(?:[a-z0-9_][a-z0-9_-]*\.)*[a-z0-9_][a-z0-9_-]*")


def make(chance: Chance) -> bytes:
    kind = chance.below(5)
    if kind == 0:
        return pick(chance, f.HOSTS + f.NASTY_HOSTS)
    port = pick(chance, PORTS)
    if kind < 3:
        return b"[" + repeat(chance, 10, lambda _: pick(chance, SIX)) + b"]" + port
    labels = [mostly(chance, LABELS, NASTY) for _ in range(1 + chance.below(5))]
    return b".".join(labels) + (b"." if chance.below(8) == 7 else b"") + port


def seeds() -> tuple[bytes, ...]:
    return f.HOSTS + f.NASTY_HOSTS


def check(data: bytes) -> None:
    try:
        authority, host = parse_host(data)
    except RequestError as error:
        check_refusal(error, (400,))
        return
    assert authority == data.decode("ascii").lower(), "the authority is not what was sent"
    assert parse_host(authority.encode()) == (authority, host), "read twice, it is another host"
    assert len(authority) <= 261
    if host.startswith("["):
        assert is_ipv6(host[1:-1]), "an address that is none: an application's URL functions will refuse it"
        rest = authority.removeprefix(host)
    else:
        assert _NAME.fullmatch(host), f"host {host!r}"
        rest = authority.removeprefix(host).removeprefix(".")
    assert re.fullmatch(r"(?::[0-9]{1,5})?", rest), f"{rest!r} behind the host"
    assert not rest or 0 < int(rest[1:]) < 65536
    for scheme, port in (("http", 80), ("https", 443)):
        name, number = split_authority(authority, scheme)
        assert number == (int(rest[1:]) if rest else port)
        assert name.removesuffix(".") == host.strip("[]")
        parts = urlsplit(f"{scheme}://{authority}/")
        assert (parts.hostname or "").removesuffix(".") == host.strip("[]"), "urllib has another host"
        assert parts.port == (number if rest else None), "urllib has another port"


def is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
