"""The subject of a certificate as one line (RFC 4514), as WSGI and ASGI applications get it.

Pure. Takes names as Python's ``ssl`` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""RFC 4514 §3; other types keep the library's name."""
_SPECIAL = frozenset('"+,;<>\\')

Subject = Sequence[Sequence[tuple[str, str]]]


def write_name(subject: Subject) -> str:
    """Return ``CN=alice,O=Example`` of ``((("organizationName", "Example"),), (("commonName", "alice"),))``."""
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in part) for part in reversed(subject)
    )


def _escape(value: str) -> str:
    """RFC 4514 §2.4; control characters too, so that a line stays one."""
    escaped = []
    for at, character in enumerate(value):
        is_edge = at == 0 or at == len(value) - 1
        if character in _SPECIAL or (character == " " and is_edge) or (character == "#" and at == 0):
            escaped.append("\\" + character)
        elif ord(character) < 32 or ord(character) == 127:
            escaped.append(f"\\{ord(character):02X}")
        else:
            escaped.append(character)
    return "".join(escaped)
