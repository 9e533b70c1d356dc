"""Percent-encoding for ``Location`` and links: canonical text in, bytes that are safe in a header and in a URL out.

Pure. Whatever comes in, nothing here lets through a control character, a space, a quote or a byte over 0x7e, and
``local_reference`` makes nothing that a browser would take for another host.
"""

from __future__ import annotations

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def _table(kept: bytes) -> tuple[bytes, ...]:
    return tuple(bytes((byte,)) if byte in kept else b"%%%02X" % byte for byte in range(256))


WHOLE = _table(_UNRESERVED)
"""For a value inside a host, a query or a fragment, or one segment of a path: every delimiter is encoded."""
PATH = _table(_UNRESERVED + b"!$&'()*+,;=:@/")
"""For a piece of a path, with its slashes (RFC 3986 §3.3)."""
AS_WRITTEN = _table(_UNRESERVED + b"!$&'()*+,;=:@/?#[]%")
"""For what is already a URL: only what may stand in none is encoded."""


def encode(value: bytes, table: tuple[bytes, ...]) -> bytes:
    """Return ``value`` with every byte that ``table`` does not keep as %XX."""
    return b"".join([table[byte] for byte in value])


def encode_text(text: str, table: tuple[bytes, ...]) -> bytes:
    """The same for canonical text: UTF-8 with surrogateescape, so undecodable bytes come out as they came in."""
    return encode(text.encode("utf-8", "surrogateescape"), table)


def local_reference(location: bytes) -> bytes:
    """Return a reference that stays on this host: never ``//…``, which would name another (RFC 3986 §4.2)."""
    return b"/" + location.lstrip(b"/") if location.startswith(b"//") else location
