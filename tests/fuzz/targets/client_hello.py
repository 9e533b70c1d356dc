"""A ClientHello is read as the TLS library reads it, or refused, and the same however much of it has come."""

from __future__ import annotations

import ssl

from pyserve.http.client_hello import ClientHello, HelloError, read_client_hello
from tests.fuzz.chance import Chance, mostly, pick, repeat, some_bytes

NAMES = (b"a.test", b"A.Test.", b"xn--bcher-kva.test", b"127.0.0.1", b"a" * 255)
NASTY_NAMES = (b"", b"a\0b", b"\xff", b".", b"a" * 256)
PROTOCOLS = (b"h2", b"http/1.1", b"acme-tls/1")
DICTIONARY = (
    b"\x16\x03\x01", b"\x16\x03\x03", b"\x01\x00", b"\x00\x00\x00\x0b\x00\x09\x00\x00\x06a.test", b"\x00\x10",
    b"\x00\x00", b"\xff\xff", b"\x15\x03\x03\x00\x02\x02\x28", *NAMES[:4], *PROTOCOLS,
)  # fmt: skip


def make(chance: Chance) -> bytes:
    extensions = repeat(chance, 4, make_extension)
    tail = size(chance, extensions, 2) + extensions if chance.below(9) else b""
    session = bytes(chance.below(33))
    content = b"\x03\x03" + bytes(32) + size(chance, session, 1) + session + b"\x00\x04\x13\x01\xc0\x2b\x01\x00" + tail
    message = mostly(chance, (b"\x01",), (b"\x02", b"\x00", b"\x10")) + size(chance, content, 3) + content
    cut = chance.below(len(message)) if chance.below(3) == 0 else 0
    pieces = [piece for piece in (message[:cut], message[cut:]) if piece]
    data = b"".join(
        mostly(chance, (b"\x16\x03\x01",), (b"\x16\x03\x03", b"\x15\x03\x01", b"\x16\x02\x00"), 20)
        + size(chance, piece, 2)
        + piece
        for piece in pieces
    )
    return data + some_bytes(chance, 2)


def make_extension(chance: Chance) -> bytes:
    kind = pick(chance, (b"\x00\x00", b"\x00\x00", b"\x00\x10", b"\x00\x2b", b"\x00\x0a", b"\xfe\x0d"))
    if kind == b"\x00\x00":
        name = mostly(chance, NAMES, NASTY_NAMES, 5)
        entry = mostly(chance, (b"\x00",), (b"\x01", b"\xff")) + size(chance, name, 2) + name
        data = size(chance, entry, 2) + entry
    elif kind == b"\x00\x10":
        names = repeat(chance, 4, lambda chance: make_protocol(chance))
        data = size(chance, names, 2) + names
    else:
        data = pick(chance, (b"", b"\x02\x03\x04", b"\x00\x02\x00\x1d", bytes(300)))
    return kind + size(chance, data, 2) + data


def make_protocol(chance: Chance) -> bytes:
    protocol = mostly(chance, PROTOCOLS, (b"", b"x" * 255))
    return size(chance, protocol, 1) + protocol


def size(chance: Chance, data: bytes, width: int) -> bytes:
    """The length of what follows, now and then a wrong one."""
    length = len(data) if chance.below(25) else pick(chance, (0, 1, len(data) + 1, 255))
    return min(length, 256**width - 1).to_bytes(width, "big")


def seeds() -> tuple[bytes, ...]:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return (outgoing.read(), b"GET / HTTP/1.1\r\n", b"\x80\x2e\x01\x03\x01")


def check(data: bytes) -> None:
    whole = read(data)
    for end in (*range(0, len(data), max(1, len(data) // 40)), *range(min(len(data), 12))):
        part = read(data[:end])
        assert part is None or part == whole, f"after {end} bytes {part}, after all {whole}"
    # What is refused never gets to the library, which says what it thinks of odd names where nobody can hear it.
    seen = library_reads(data) if isinstance(whole, ClientHello) else None
    if seen is not None and isinstance(whole, ClientHello):
        assert whole.server_name == seen.lower().removesuffix("."), f"the library reads {seen!r}"


def read(data: bytes) -> ClientHello | tuple[int, str] | None:
    try:
        return read_client_hello(data)
    except HelloError as error:
        return error.alert, error.reason


def library_reads(data: bytes) -> str | None:
    """Return the name that the TLS library hands out, "" = none, None = it does not get so far."""
    seen: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def note(_: object, name: str | None, __: object) -> int:
        seen.append(name or "")
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE

    context.sni_callback = note  # type: ignore[assignment]
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    try:
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    except (ssl.SSLError, ValueError, UnicodeError):
        pass
    return seen[0] if seen else None
