"""Step 4 of the request path: the fields of a request that never reach an application as they came.

Pure. Those of the connection (RFC 9110 §7.6.1), those that an environ could not tell from others (an underscore and a
dash are the same there), ``Proxy`` (httpoxy), what only a trusted proxy may say about the client, and what only this
server may say about a failure.
"""

from __future__ import annotations

from pyserve.http.request import Request

Field = tuple[bytes, bytes]

_NAMES = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding te upgrade trailer proxy "
    b"forwarded x-real-ip x-client-ip".split()
)
# What Connection can't take away: framing and who is asked (RFC 9110 §7.6.1).
_NOT_NOMINABLE = frozenset(b"close keep-alive host content-length content-type authorization cookie".split())

ERROR_PREFIX = b"x-error-"
"""What an application is told of a request that failed when it is asked for the error page (``handlers.app_page``)."""

NOTHING_HIDDEN: frozenset[bytes] = frozenset()
CONNECTION_HIDDEN = frozenset((b"connection",))


def is_hidden(name: bytes) -> bool:
    """Is a field with this lower-case name kept from applications?"""
    return name in _NAMES or b"_" in name or name.startswith((b"x-forwarded-", ERROR_PREFIX))


def nominated(tokens: set[bytes]) -> set[bytes]:
    """Return the names that a Connection field (its tokens, in lower case) takes away."""
    return tokens - _NOT_NOMINABLE


def visible_fields(request: Request) -> tuple[Field, ...]:
    """Return the fields that an application may see, with what was believed of a trusted proxy in their place."""
    fields = request.fields
    hidden = request.hidden
    if hidden:
        fields = tuple([field for field in fields if field[0] not in hidden])
    forwarded = request.forwarded
    if forwarded is not None:
        fields += forwarded.fields
    if request.raw_target[:1] != b"/" or (forwarded is not None and forwarded.authority is not None):
        # The absolute form's authority, or the proxy's word, replaces Host (RFC 9112 §3.2.2).
        fields = ((b"host", request.authority.encode()), *(field for field in fields if field[0] != b"host"))
    return fields
