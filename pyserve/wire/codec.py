"""Request heads and answer heads as payloads.

Pure. A request head is one plain tuple of str, bytes, int and None in ``marshal`` version 2, which every CPython
reads (front to worker only: the front is trusted, a worker is not). An answer head is a fixed struct and a block of
lower-case ``name: value\\r\\n`` lines, checked by the front in one pass before it goes to a client.

A request payload is two blobs: the *peer* blob is the same for every request of a connection and the *head* blob for
every request with the same head, so the front can keep both ready.

HOT: benchmarks/hello_wsgi.py.
"""

from __future__ import annotations

import marshal
import struct
from typing import NamedTuple

from .frames import ANSWER, REQUEST, SOCKET, WireError, frame

# Flags of REQUEST.
HAS_BODY = 1  # BODY frames follow, the last one is BODY_LAST
EXPECTS = 2  # the client waits for 100 Continue: say WANT_BODY when the application asks for the body
RESERVED = 4  # a health path: may run beside as many as may run at once, one of them in a worker
MARSHAL_VERSION = 2

_REQUEST = struct.Struct("<BH")
_REQUEST_FRAME = struct.Struct("<IBIBH")  # a frame's header (see frames), then the fixed part of its payload
_ANSWER = struct.Struct("<HBqI")
_ANSWER_FRAME = struct.Struct("<IBIHBqI")

# Flags of ANSWER.
COMPLETE = 1  # the whole answer is in this frame
HAS_DATE = 2  # the block has a Date of the application's own
HAS_SERVER = 4  # likewise Server
CLOSE = 8  # the application asked for the connection to be closed
TRAILED = 16  # TRAILERS end the stream; the block may have ``trailer`` lines. Never with COMPLETE
UNKNOWN_LENGTH = -1

NOT_IN_TRAILERS = frozenset(
    b"content-length transfer-encoding connection keep-alive proxy-connection upgrade te trailer "
    b"host cache-control expect max-forwards pragma range if-match if-none-match if-modified-since "
    b"if-unmodified-since if-range authorization proxy-authenticate proxy-authorization www-authenticate cookie "
    b"set-cookie age expires date location retry-after vary warning server accept-ranges content-encoding content-type "
    b"content-range".split()
)
"""What has to be known before the content: framing, routing, conditions, credentials, control data, how to read it
(RFC 9110 §6.5.1)."""

Address = tuple[str, int]


class TlsPeer(NamedTuple):
    """What a handshake settled, and whom the client proved to be."""

    version: int
    """As on the wire: 0x0304 is TLS 1.3."""
    cipher: int
    """IANA's number; 0 = not known."""
    cipher_name: str
    asks_client: bool = False
    """The site asks for a certificate; only then are the next fields filled in."""
    server_cert: str | None = None
    client_chain: tuple[str, ...] = ()
    """PEM, the client's own first; () = it showed none."""
    client_name: str | None = None
    """Subject of the first, as RFC 4514 writes it."""
    client_error: str | None = None


class Peer(NamedTuple):
    """Both ends of a connection: the same for all its requests."""

    client: Address | None
    """None on a Unix socket."""
    server: tuple[str, int | None]
    """Port None and the socket's path as host on a Unix socket."""
    scheme: str
    tls: TlsPeer | None = None


class Head(NamedTuple):
    """A request as an application sees it."""

    method: str
    raw_path: bytes
    """Percent-encoded, as received, without the query."""
    path: str
    """Percent-decoded and normalised, UTF-8 with surrogateescape."""
    query: bytes
    version: str
    """"1.0", "1.1", "2"."""
    mount: str
    """SCRIPT_NAME / root_path; "" or "/prefix", a prefix of ``path``."""
    content_length: int | None
    """Of the body that follows; None = none or unknown (chunked, ASGI only: a gathered body has its length)."""
    fields: tuple[tuple[bytes, bytes], ...]
    """Lower-case names, values byte for byte; hop-by-hop fields already gone."""


def pack_peer(peer: Peer) -> bytes:
    """In clear text the last field is left out: most peers are no longer than they need to be."""
    fields = tuple(peer[:3]) if peer.tls is None else (*peer[:3], tuple(peer.tls))
    return marshal.dumps(fields, MARSHAL_VERSION)


def unpack_peer(blob: bytes) -> tuple[Address | None, tuple[str, int | None], str]:
    """Return the first fields of ``Peer`` in order, of a blob of our own."""
    peer: tuple[Address | None, tuple[str, int | None], str] = marshal.loads(blob)[:3]
    return peer


def pack_head(head: Head) -> bytes:
    return marshal.dumps(tuple(head), MARSHAL_VERSION)


def pack_request(flags: int, peer_blob: bytes, head_blob: bytes) -> bytes:
    return _REQUEST.pack(flags, len(peer_blob)) + peer_blob + head_blob


def request_frame(stream: int, flags: int, peer_blob: bytes, head_blob: bytes) -> bytes:
    """Return a whole REQUEST frame: what ``frame(REQUEST, stream, pack_request(...))`` returns, in one step."""
    peer_length = len(peer_blob)
    start = _REQUEST_FRAME.pack(3 + peer_length + len(head_blob), REQUEST, stream, flags, peer_length)
    return b"".join((start, peer_blob, head_blob))


def socket_frame(stream: int, peer_blob: bytes, head_blob: bytes) -> bytes:
    """Return a whole SOCKET frame; its payload is that of a REQUEST."""
    return frame(SOCKET, stream, pack_request(0, peer_blob, head_blob))


def unpack_request(payload: bytes) -> tuple[int, tuple, tuple]:  # type: ignore[type-arg]
    """Return ``(flags, peer, head)``; the tuples have the fields of ``Peer`` and ``Head`` in order.

    Plain tuples, because making the named ones would cost more than reading them.
    """
    flags, peer_length = _REQUEST.unpack_from(payload)
    at = 3 + peer_length
    return flags, marshal.loads(payload[3:at]), marshal.loads(payload[at:])


class Answer(NamedTuple):
    status: int
    flags: int
    content_length: int
    """UNKNOWN_LENGTH where the application did not say."""
    block: bytes
    """``name: value\\r\\n`` lines, lower-case names, without content-length and hop-by-hop fields. Not checked."""
    body: bytes


def pack_answer(status: int, flags: int, content_length: int, block: bytes, body: bytes = b"") -> bytes:
    return _ANSWER.pack(status, flags, content_length, len(block)) + block + body


def answer_frame(stream: int, status: int, flags: int, content_length: int, block: bytes, body: bytes = b"") -> bytes:
    """Return a whole ANSWER frame: what ``frame(ANSWER, stream, pack_answer(...))`` returns, in one step."""
    head = len(block)
    return _ANSWER_FRAME.pack(15 + head + len(body), ANSWER, stream, status, flags, content_length, head) + block + body


def unpack_answer(payload: bytes) -> tuple[int, int, int, bytes, bytes]:
    """Return the fields of ``Answer``; raise ``WireError`` where lengths can't be right. The block is not checked."""
    try:
        status, flags, content_length, block_length = _ANSWER.unpack_from(payload)
    except struct.error:
        raise WireError(f"answer head of {len(payload)} bytes") from None
    at = 15 + block_length
    if at > len(payload) or not 200 <= status <= 599 or content_length < UNKNOWN_LENGTH:
        raise WireError(f"answer head with status {status}, length {content_length}, block {block_length}")
    return status, flags, content_length, payload[15:at], payload[at:]
