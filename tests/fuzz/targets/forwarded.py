"""What stands left of the first hop that is no trusted proxy never changes the client: nobody can choose who it is.

And whatever the fields say, the client is an address, the scheme one of two, the host one that ``parse_host`` takes,
and what an application gets to see of it is clean.
"""

from __future__ import annotations

import ipaddress

from pyserve.errors import RequestError
from pyserve.http.forwarded import MAX_HOPS, Field, Forwarded, TrustedProxies
from pyserve.http.target import parse_host
from tests.fuzz import fragments as f
from tests.fuzz.chance import Chance, mostly, pick, repeat, some_bytes
from tests.fuzz.reading import check_refusal

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8", "unix:"])
NAMES = (
    b"x-forwarded-for", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port",
    b"forwarded",
)  # fmt: skip
HOPS = (
    b"10.0.0.1", b"10.1.2.3:80", b"192.0.2.1", b"192.0.2.1:4711", b"[fd00::1]:80", b"fd00::1", b"2001:db8::1",
    b"[2001:db8::1]",
)  # fmt: skip
NASTY_HOPS = (
    b"", b"unknown", b"_hidden", b"10.0.0.256", b"10.0.0.1:99999", b"[10.0.0.1]", b"::ffff:10.0.0.1", b"fe80::1%eth0",
    b"1", b"010.0.0.1", b"10.0.0.1 ", b"[::1", b"::1]", b"localhost", b"\xb2.0.0.1", b"0x0a.0.0.1", b"10.0.0.1,",
    b"1::1::1", b"a",
)  # fmt: skip
PROTOS = (b"https", b"http", b"HTTPS", b"wss", b"ws", b"ftp", b"", b"https:", b"http,https")
SYNTAX = (
    b"for=", b"proto=https", b"host=a.test", b"by=10.0.0.1", b";", b",", b'"', b"\\", b"=", b'for="[2001:db8::1]:80"',
)  # fmt: skip
DICTIONARY = (*NAMES, *HOPS, *NASTY_HOPS[1:], *PROTOS[:4], *SYNTAX, *f.HOSTS, b": ", b"\n", b", ")


def make(chance: Chance) -> bytes:
    """Lines of ``name: value``, from the outermost proxy to the innermost."""
    return b"\n".join([make_line(chance) for _ in range(chance.below(5))])


def make_line(chance: Chance) -> bytes:
    name = pick(chance, NAMES)
    if name.endswith(b"for"):
        value = b", ".join([mostly(chance, HOPS, NASTY_HOPS, 6) for _ in range(chance.below(5))])
    elif name.endswith(b"proto"):
        value = b",".join([pick(chance, PROTOS) for _ in range(chance.below(3))])
    elif name.endswith(b"host"):
        value = b",".join([mostly(chance, f.HOSTS, f.NASTY_HOSTS) for _ in range(chance.below(3))])
    elif name.endswith(b"port"):
        value = mostly(chance, (b"443", b"80,8443"), f.NUMBERS, 3)
    else:
        value = b", ".join([make_element(chance) for _ in range(chance.below(4))])
    return name + b": " + value + (some_bytes(chance, 3) if chance.below(10) == 9 else b"")


def make_element(chance: Chance) -> bytes:
    hop = mostly(chance, HOPS, NASTY_HOPS, 6)
    pairs = [b"for=" + (b'"' + hop + b'"' if b":" in hop or chance.below(2) else hop)]
    if chance.below(2):
        pairs.append(b"proto=" + pick(chance, PROTOS))
    if chance.below(3) == 2:
        pairs.append(b'host="' + mostly(chance, f.HOSTS, f.NASTY_HOSTS) + b'"')
    if chance.below(5) == 4:
        pairs.append(repeat(chance, 3, lambda _: pick(chance, SYNTAX)))
    return b";".join(pairs)


def seeds() -> tuple[bytes, ...]:
    return (
        b"x-forwarded-for: 192.0.2.1, 10.0.0.1\nx-forwarded-proto: https",
        b'forwarded: for=192.0.2.1;proto=https;host=a.test, for="[fd00::1]:80"',
        b"x-forwarded-host: a.test\nx-forwarded-port: 443",
    )


def check(data: bytes) -> None:
    fields = read_lines(data)
    said = read(fields)
    if said is None:
        return
    check_facts(said)
    assert read(fields) == said, "another client at second sight"
    if said.client is not None and not TRUSTED.trust(said.client[0]):
        check_spoof(fields, said)


def read_lines(data: bytes) -> list[Field]:
    """Return the fields of an input: only what a head lets through, with the names that are looked at."""
    fields = []
    for line in data.split(b"\n"):
        name, _, value = line.partition(b":")
        if name in NAMES and not {*range(0x09), *range(0x0A, 0x20), 0x7F} & set(value):
            fields.append((name, value.strip(b" \t")))
    return fields


def read(fields: list[Field]) -> Forwarded | None:
    try:
        return TRUSTED.read(fields)
    except RequestError as error:
        check_refusal(error, (400,))
        return None


def check_facts(said: Forwarded) -> None:
    if said.client is not None:
        address, port = said.client
        ipaddress.ip_address(address)
        assert 0 <= port < 65536
    assert said.scheme in ("", "http", "https")
    assert 0 <= said.port < 65536
    if said.authority is not None:
        assert parse_host(said.authority)[0].encode() == said.authority
    for name, value in said.fields:
        assert name.startswith(b"x-forwarded-"), f"{name!r} is shown"
        assert not value.translate(None, bytes(range(0x20, 0x7F))), f"{value!r} is shown"
        if name == b"x-forwarded-for":
            for hop in value.split(b", "):
                ipaddress.ip_address(hop.decode("ascii"))


def check_spoof(fields: list[Field], said: Forwarded) -> None:
    """An attacker's own hops stand left of all others, in a line before or in the first line."""
    if any(name == b"x-forwarded-for" for name, _ in fields):
        spoofed = [(b"x-forwarded-for", b"203.0.113.66, 10.9.9.9"), *fields]
    elif not any(name.startswith(b"x-") for name, _ in fields):
        spoofed = [(b"forwarded", b'for=203.0.113.66, for="10.9.9.9"'), *fields]
    else:
        return
    if sum(value.count(b",") + 1 for name, value in spoofed) > MAX_HOPS:
        return
    other = read(spoofed)
    if other is None:
        return  # which of several hosts counts depends on how many hops there are, and this one is none
    assert other.client == said.client, f"a spoofed hop makes the client {other.client}, not {said.client}"
