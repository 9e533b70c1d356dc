"""Step 4 of the request path: what a trusted proxy says about the client behind it.

Pure. ``X-Forwarded-For/Proto/Host/Port`` and ``Forwarded`` (RFC 7239) count only where the other end of the connection
is one of ``[server] trusted_proxies``; from everybody else they never reach an application. The client is the
right-most hop that is not trusted itself: whatever stands to the left of it was written by that hop or by somebody
behind it.

A request that has any of those ``X-Forwarded-*`` fields is read by them alone, else by ``Forwarded``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyserve.http.target import parse_host

Field = tuple[bytes, bytes]
Hop = tuple[str, int]
"""Address without brackets, port (0 = not said)."""

UNIX = "unix:"
"""As an entry of ``trusted_proxies``: whoever connects over a Unix socket."""
MAX_HOPS = 64
_MAX_REMEMBERED = 4096

_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_PORT = re.compile(rb"[0-9]{1,5}")
# RFC 7239 §4: token or quoted string, and an element as a list of such pairs. Possessive, so that spaces cost one pass.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rb"[ \t]*+(?:(%b)=(%b|\"(?:[^\"\\]|\\.)*\"))?[ \t]*([;,]|$)" % (_TOKEN, _TOKEN))
_ESCAPE = re.compile(rb"\\(.)")
_NODE = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]{2,45})")


class Forwarded(NamedTuple):
    """What the trusted proxies say of a request."""

    client: Hop | None
    """None: they don't say, so it is who connected."""
    scheme: str
    """"http", "https", "" = not said."""
    authority: bytes | None
    """As a Host field, checked; None = not said."""
    port: int
    """Of the address that the client connected to; 0 = not said."""
    fields: tuple[Field, ...]
    """What an application gets to see of it: only what was believed."""


class TrustedProxies:
    """The addresses and networks of ``[server] trusted_proxies``."""

    def __init__(self, entries: Iterable[str]) -> None:
        """``entries``: addresses and networks that ``ipaddress`` reads, and "unix:". Raises ``ValueError``."""
        entries = list(entries)
        self._trusts_unix = UNIX in entries
        self._networks = [ipaddress.ip_network(entry) for entry in entries if entry != UNIX]
        self._known: dict[str, bool] = {}

    def trust(self, address: str | None) -> bool:
        """Is this one of them? ``None`` = the peer of a Unix socket."""
        if address is None:
            return self._trusts_unix
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            known = self._known[address] = self._look_up(address)
        return known

    def _look_up(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        # A socket for both families has IPv4 clients as ::ffff:192.0.2.1.
        plain = getattr(ip, "ipv4_mapped", None) or ip
        return any(plain in network or ip in network for network in self._networks)

    def read(self, fields: Sequence[Field]) -> Forwarded:
        """Return what the fields of a request from a trusted proxy say.

        Raises ``RequestError`` (400) where a host is named that is none. Anything else that can't be read ends the walk
        there: the last hop that could be read is the client.
        """
        chain: list[bytes] = []
        protos: list[bytes] = []
        hosts: list[bytes] = []
        port = 0
        elements: list[bytes] = []
        has_x = False
        for name, value in fields:
            if name == b"x-forwarded-for":
                chain += value.split(b",")
            elif name == b"x-forwarded-proto":
                protos += value.split(b",")
            elif name == b"x-forwarded-host":
                hosts += value.split(b",")
            elif name == b"x-forwarded-port":
                last = value.rpartition(b",")[2].strip(b" \t")
                port = int(last) if _PORT.fullmatch(last) and 0 < int(last) < 65536 else 0
            elif name == b"forwarded":
                elements.append(value)
                continue
            else:
                continue
            has_x = True
        if not has_x and elements:
            chain, protos, hosts = _read_elements(b",".join(elements))
        client, walked = self._walk(chain)
        # Forwarded keeps a hop's values together. The others are lists of their own, to whose left a client may have
        # added what it liked: only the last value is sure to be the proxy's that we trust.
        at = -1 if has_x or not walked else -walked
        scheme = _SCHEMES.get(protos[at].strip(b" \t").lower(), "") if protos else ""
        host = hosts[at].strip(b" \t") if hosts else b""
        authority = parse_host(host)[0].encode() if host else None
        return Forwarded(
            client, scheme, authority, port, self._believed(chain, client, walked, scheme, authority, port)
        )

    def _walk(self, chain: list[bytes]) -> tuple[Hop | None, int]:
        """Return the right-most hop that is not trusted (or the last that can be read), and how many were walked."""
        client: Hop | None = None
        walked = 0
        for text in reversed(chain[-MAX_HOPS:]):
            hop = parse_hop(text.strip(b" \t"))
            if hop is None:
                break
            client = hop
            walked += 1
            if not self.trust(hop[0]):
                break
        return client, walked

    @staticmethod
    def _believed(
        chain: list[bytes], client: Hop | None, walked: int, scheme: str, authority: bytes | None, port: int
    ) -> tuple[Field, ...]:
        fields: list[Field] = []
        if client is not None:
            hops = [hop for text in chain[len(chain) - walked :] if (hop := parse_hop(text.strip(b" \t"))) is not None]
            fields.append((b"x-forwarded-for", b", ".join(hop[0].encode() for hop in hops)))
        if scheme:
            fields.append((b"x-forwarded-proto", scheme.encode()))
        if authority is not None:
            fields.append((b"x-forwarded-host", authority))
        if port:
            fields.append((b"x-forwarded-port", b"%d" % port))
        return tuple(fields)


def parse_hop(text: bytes) -> Hop | None:
    """Return address and port of "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80" or "2001:db8::1"; None for others."""
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    six, four, port, bare = match.groups()
    try:
        address = ipaddress.ip_address((six or four or bare).decode("ascii"))
    except ValueError:
        return None
    if six is not None and address.version != 6:
        return None
    number = int(port or 0)
    return (str(address), number) if number < 65536 else None


def _read_elements(value: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Return the for=, proto= and host= of each element; what is not well formed makes the whole worth nothing."""
    chain: list[bytes] = []
    protos: list[bytes] = []
    hosts: list[bytes] = []
    element: dict[bytes, bytes] = {}
    at = 0
    while at <= len(value):
        match = _PAIR.match(value, at)
        if match is None:
            return [], [], []
        name, text, end = match.groups()
        if name is not None:
            if name.lower() in element:
                return [], [], []
            element[name.lower()] = _ESCAPE.sub(rb"\1", text[1:-1]) if text[:1] == b'"' else text
        if end != b";" and element:
            chain.append(element.get(b"for", b""))
            protos.append(element.get(b"proto", b""))
            hosts.append(element.get(b"host", b""))
            element = {}
        at = match.end()
        if not end:
            break
    return chain, protos, hosts
