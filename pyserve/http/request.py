"""The canonical request: the one object that matching, files, environ and scope use (D3). Pure.

One place makes it (``http.head``) for every protocol version; it never changes afterwards, so equal heads may share
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserve.http.forwarded import Forwarded
    from pyserve.http.websocket_handshake import Handshake


Memo = dict[Any, Any]
"""What others keep beside a request that is equal in some way; each has keys of its own."""


class Request:
    """A checked request head. ``__slots__`` and plain attributes: it is made once per request on the hot path."""

    __slots__ = (
        "authority",
        "content_length",
        "expects_continue",
        "fields",
        "forwarded",
        "has_body",
        "hidden",
        "host",
        "is_chunked",
        "is_conditional",
        "keep_alive",
        "kind",
        "line_memo",
        "memo",
        "method",
        "path",
        "query",
        "raw_path",
        "raw_target",
        "referer",
        "rest_memo",
        "user_agent",
        "version",
    )

    method: str
    raw_target: bytes
    """The target as received, for the log."""
    authority: str
    """Host as received, lower case, with the port if there was one; "" only in HTTP/1.0 without Host."""
    host: str
    """Lower case, no port, no trailing dot; IPv6 in brackets."""
    raw_path: bytes
    """As received, without the query; b"*" for OPTIONS *."""
    path: str
    """Decoded once, dot segments removed, always begins with "/" (or is "*"); UTF-8 with surrogateescape."""
    query: bytes
    version: str
    """"1.0", "1.1", "2"."""
    protocol = ""
    """What an Extended CONNECT asks for (RFC 8441), as "websocket"."""
    fields: tuple[tuple[bytes, bytes], ...]
    """Lower-case names, values byte for byte with outer SP and HTAB removed; every field of the head, in order."""
    hidden: frozenset[bytes]
    """Names among them that are kept from applications (``http.hidden``)."""
    forwarded: Forwarded | None
    """What trusted proxies say about the client; None where the other end of the connection is none."""
    content_length: int | None
    is_chunked: bool
    has_body: bool
    """Chunked, or a length above 0."""
    keep_alive: bool
    expects_continue: bool
    is_conditional: bool
    """There is an If-… or a Range field (RFC 9110 §13, §14)."""
    referer: bytes
    user_agent: bytes
    """b"-" where there is none: for the log."""
    kind: object
    """Requests with an equal line and one kind are equal in Host, Accept-Encoding, Sec-Fetch-Mode and all conditions;
    None = nothing is known of that. The front keeps ready answers by it, in ``line_memo``."""
    memo: dict[str, object]
    """What others keep beside an equal head (packed wire head, match). Owned by whoever holds the key."""
    line_memo: Memo
    """The same beside an equal request line: its text for the log, ready answers by kind."""
    rest_memo: Memo
    """The same beside equal fields, but Cookie, If-None-Match and Range."""

    def joined(self, name: bytes) -> bytes | None:
        """Return the values of all fields of a name as one list (RFC 9110 §5.3), None where there is none."""
        values = [value for key, value in self.fields if key == name]
        return b", ".join(values) if values else None

    @property
    def takes_trailers(self) -> bool:
        """Does the client say that it will look at fields behind the content (RFC 9110 §10.1.4)?"""
        wanted = self.joined(b"te")
        return wanted is not None and b"trailers" in [word.strip(b" \t").lower() for word in wanted.split(b",")]

    @property
    def websocket(self) -> Handshake | None:
        """The WebSocket that this request asks for, None = it is one like others. Raises ``RequestError`` for one that
        is not in order. Read anew each time: only who can serve a WebSocket looks.
        """
        if b"upgrade" not in self.hidden and not self.protocol:
            return None
        from pyserve.http.websocket_handshake import read_handshake

        return read_handshake(self)

    def field(self, name: bytes) -> bytes | None:
        """Return the first value of a field by its lower-case name."""
        for key, value in self.fields:
            if key == name:
                return value
        return None
