"""Step 4 of the request path: blocks of HPACK become the canonical request, as ``http.head`` makes it for HTTP/1. Pure.

What HTTP/2 adds is checked here: pseudo-fields, fields that belong to a connection, cookie crumbs (RFC 9113 §8.2, §8.3;
RFC 8441 §4 for WebSockets). What any request may be is decided where it always is: ``http.head``, ``http.target``.

A block that leaves the dynamic table alone means the same as long as nothing else changes that, so it is remembered
beside the table when its path comes the second time, and gives the same request object from then on. So is its tail,
all behind the pseudo-fields: with a new path the rest of a browser's head is one look-up. Tables are kept by content,
and shared by connections.

HOT: ``read`` is every request that was not remembered (benchmarks/http2_machine.py).
"""

from __future__ import annotations

import re
from typing import Final

from pyserve.errors import Fate, RequestError
from pyserve.http.chunked import FORBIDDEN_TRAILERS, MAX_TRAILER_BYTES
from pyserve.http.h2.faults import StreamFault
from pyserve.http.h2.frames import PROTOCOL_ERROR
from pyserve.http.h2.hpack import FIRST_DYNAMIC, Field, Literals, Table, decode
from pyserve.http.head import CONDITIONS, LEGAL, Begun, HeadReader, find_method, is_special
from pyserve.http.request import Request
from pyserve.http.target import parse_target

PSEUDO_FIELDS: Final = 5
CRUMBS: Final = 2
"""A browser sends each cookie as a field of its own: with them a head may have so many times ``max_headers`` fields."""

MAX_LINES: Final = 16384
MAX_FIELDS: Final = 4096
MAX_FIELD_BYTES: Final = 512
MAX_TABLES: Final = 256
MAX_KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of all that is remembered beside tables, roughly."""
MAX_BLOCK_BYTES: Final = 2048
MAX_LIST_BYTES: Final = 4096
TARGET_COPIES: Final = 3
"""Raw, decoded, and in parts."""
_OWN_BYTES: Final = 600  # of a request and its place

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_PATH = re.compile(rb"[\x21-\x7e]+")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_CONNECTION_FIELDS: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

# What a field is.
_PLAIN, _SPECIAL, _COOKIE = range(3)


class Tail:
    """Fields that come again behind some pseudo-fields. ``request``: one with them and this authority."""

    __slots__ = ("kind", "request")

    def __init__(self, request: Request, kind: object) -> None:
        self.request = request
        self.kind = kind


class ConnectRequest(Request):
    """Extended CONNECT (RFC 8441): the stream is to carry another protocol."""

    __slots__ = ("protocol",)


Read = Request | RequestError | StreamFault
"""The request; what it is answered with; or what its stream is reset for, because it is none."""


class BlockReader:
    """Blocks to requests. One per ``HeadReader``, for all its connections: it remembers what it has seen."""

    __slots__ = ("_can_repeat", "_enable_connect", "_fields", "_held", "_lines", "_max_bytes", "_reader", "_tables",
                 "empty", "literals")  # fmt: skip

    def __init__(
        self, reader: HeadReader, max_head_bytes: int, *, can_repeat: bool = True, enable_connect: bool = False
    ) -> None:
        """``can_repeat``: may an answer be kept ready beside what is remembered (``Request.kind``)?

        ``max_head_bytes``: of the fields, each with 32 bytes more (RFC 9113 §6.5.2).
        """
        self._reader = reader
        self._max_bytes = max_head_bytes
        self._can_repeat = can_repeat
        self._enable_connect = enable_connect
        self._lines: dict[tuple[bytes, bytes], Begun] = {}
        self._fields: dict[Field, int] = {}
        self._tables: dict[tuple[int, tuple[Field, ...]], Table] = {}
        self._held = 0
        self.literals = Literals()
        self.empty = self._keep(Table())

    @property
    def max_head_bytes(self) -> int:
        return self._max_bytes

    def forget(self) -> None:
        """Let go of requests and of what others keep beside them."""
        self._lines.clear()
        for table in self._tables.values():
            table.is_kept = False
            table.blocks = {}
            table.tails = {}
        self._tables.clear()
        self._held = 0

    def read(self, table: Table, block: bytes, is_end: bool) -> tuple[Read, Table, int]:
        """Return what a block means, the table behind it, and how many bytes the request holds that are worth counting.

        Small ones and those that are shared count for nothing. Raises ``ConnectionFault``.

        ``is_end``: the message has no body. What ``table.blocks`` has is the same for those: ask it first.
        """
        key = None
        try:
            begun = self._read_pseudo(table, block)
            if begun is not None:
                line, authority, at, is_new = begun
                key = (authority, block[at:])
                tail = table.tails.get(key)
                if tail is not None:
                    known = _put_together(line, tail, is_end)
                    if known is not None:
                        if is_end and not is_new:
                            self._remember(table, block, known)
                        size = TARGET_COPIES * len(known.raw_target)
                        return known, table, size if size > MAX_LIST_BYTES else 0
        except IndexError:
            pass  # whatever is wrong with it is told below
        limit = CRUMBS * self._reader.max_headers + PSEUDO_FIELDS
        found, after, is_cut = decode(block, table, self.literals, limit, self._max_bytes)
        try:
            request = self._interpret(found, is_cut, is_end)
        except RequestError as error:
            error.fate = Fate.KEEP  # what follows on other streams is not its business
            return error, after, 0
        except StreamFault as error:
            return error, after, 0
        kind, request.kind = request.kind, None if request.has_body else request.kind
        size = sum([len(name) + len(value) for name, value in request.fields])
        size += TARGET_COPIES * len(request.raw_target)
        if size > MAX_LIST_BYTES:
            return request, after, size
        if after is table and len(block) <= MAX_BLOCK_BYTES:
            if not table.is_kept:
                after = table = self._keep(table)
                known = table.blocks.get(block) if is_end else None
                if known is not None:
                    return known, table, 0
            if key is not None and type(request) is Request:
                self._hold(size + len(key[1]))
                if table.is_kept:
                    table.tails[key] = Tail(request, kind)
            if is_end:
                self._remember(table, block, request)
        return request, after, 0

    def read_trailers(self, table: Table, block: bytes) -> tuple[tuple[Field, ...] | StreamFault, Table]:
        """Return the fields behind a body and the table behind them; raise ``ConnectionFault``."""
        found, after, is_cut = decode(block, table, self.literals, self._reader.max_headers, MAX_TRAILER_BYTES)
        if is_cut:
            return StreamFault(PROTOCOL_ERROR, "trailers too large"), after
        for name, value in found:
            if not _NAME.fullmatch(name) or name in FORBIDDEN_TRAILERS or name in _CONNECTION_FIELDS:
                return StreamFault(PROTOCOL_ERROR, "a trailer that may not be one"), after
            if value.translate(None, LEGAL) or value.strip(b" \t") != value:
                return StreamFault(PROTOCOL_ERROR, "malformed trailer"), after
        return tuple(found), after

    # What is remembered.

    def _keep(self, table: Table) -> Table:
        """Return the table with this content that has a memory."""
        key = (table.max_size, table.fields[FIRST_DYNAMIC:])
        known = self._tables.get(key)
        if known is None:
            if len(self._tables) >= MAX_TABLES:
                self.forget()
            table.is_kept = True
            known = self._tables[key] = table
            self._held += table.size
        return known

    def _hold(self, size: int) -> None:
        self._held += size + _OWN_BYTES
        if self._held > MAX_KEPT_BYTES:
            self.forget()  # LIMIT: bounded; what comes again is read again

    def _remember(self, table: Table, block: bytes, request: Request) -> None:
        if request.method not in ("GET", "HEAD") or len(block) > MAX_BLOCK_BYTES:
            return
        self._hold(len(block))
        if table.is_kept:
            table.blocks[block] = request

    # A path that is new before fields that are not.

    def _read_pseudo(self, table: Table, block: bytes) -> tuple[Begun, bytes, int, bool] | None:
        """Return the line, the authority, where the other fields begin, and whether the line is new.

        None where it takes a closer look; raises ``IndexError`` where that would find something wrong.
        """
        fields = table.fields
        known = self.literals.known
        method = path = authority = scheme = None
        at = 0
        for _ in range(PSEUDO_FIELDS):
            if at >= len(block):
                break
            start = at
            byte = block[at]
            if byte > 0x80:
                if byte == 0xFF:
                    return None
                name, value = fields[byte & 0x7F]
                if name[:1] != b":":
                    break
                at += 1
            else:
                if byte >= 0x20 or not byte & 0x0F:
                    break  # of a tail, or something that changes the table
                index = byte & 0x0F
                at += 1
                if index == 0x0F:
                    index += block[at]
                    at += 1
                    if index >= 0x0F + 0x80:
                        return None
                name = fields[index][0]
                if name[:1] != b":":
                    at = start
                    break
                length = block[at]
                at += 1
                if length < 0x7F:
                    value = block[at : at + length]
                    at += length
                elif 0x80 <= length < 0xFF:
                    length &= 0x7F
                    value = block[at : at + length]
                    at += length
                    value = known.get(value) or self.literals.decode(value)
                else:
                    return None
            if name == b":path":
                if path is not None:
                    return None
                path = value
            elif name == b":method":
                if method is not None:
                    return None
                method = value
            elif name == b":authority":
                if authority is not None:
                    return None
                authority = value
            elif name == b":scheme":
                if scheme is not None:
                    return None
                scheme = value
            else:
                return None
        if method is None or path is None or authority is None or (scheme != b"https" and scheme != b"http"):
            return None
        if at > len(block):
            return None
        line = self._lines.get((method, path))
        if line is not None:
            return line, authority, at, False
        try:
            return self._read_line(method, path), authority, at, True
        except (RequestError, StreamFault):
            return None

    # Everything else.

    def _read_line(self, method: bytes, path: bytes) -> Begun:
        """Read method and path that are not remembered, and remember them."""
        if not _METHOD.fullmatch(method) or not _PATH.fullmatch(path):
            raise StreamFault(PROTOCOL_ERROR, "malformed :method or :path")
        if path[0] != 0x2F and path != b"*":
            raise StreamFault(PROTOCOL_ERROR, ":path begins with no slash")
        name = find_method(method)
        begun: Begun = (name, path, "2", *parse_target(name, path), {})
        if len(path) <= MAX_FIELD_BYTES:
            if len(self._lines) >= MAX_LINES:
                self._lines.clear()
            self._lines[method, path] = begun
        return begun

    def _judge(self, field: Field) -> int:
        """Return what a field is that is no pseudo-field; raise ``StreamFault``."""
        name, value = field
        if not _NAME.fullmatch(name):
            raise StreamFault(PROTOCOL_ERROR, "malformed field name")
        if value.translate(None, LEGAL) or value.strip(b" \t") != value:
            raise StreamFault(PROTOCOL_ERROR, "malformed field value")
        if name in _CONNECTION_FIELDS:
            raise StreamFault(PROTOCOL_ERROR, "a field of HTTP/1 connections")
        if name == b"te" and value.lower() != b"trailers":
            raise StreamFault(PROTOCOL_ERROR, "te that is not trailers")
        kind = _COOKIE if name == b"cookie" else _SPECIAL if is_special(name) else _PLAIN
        if len(name) + len(value) <= MAX_FIELD_BYTES:
            if len(self._fields) >= MAX_FIELDS:
                self._fields.clear()  # LIMIT: bounded; what comes again is judged again
            self._fields[field] = kind
        return kind

    def _interpret(self, found: list[Field], is_cut: bool, is_end: bool) -> Request:
        """Return the request of a list of fields; raise ``StreamFault``, ``RequestError``."""
        reader = self._reader
        known = self._fields
        pseudo: dict[bytes, bytes] = {}
        fields: list[Field] = []
        special: list[Field] = []
        crumbs: list[bytes] = []
        crumbs_at = 0
        host = None
        for field in found:
            kind = known.get(field)
            if kind is None:
                name = field[0]
                if name[:1] == b":":
                    if name not in _PSEUDO or name in pseudo or fields:
                        raise StreamFault(PROTOCOL_ERROR, "a pseudo-field that is unknown, comes twice or comes late")
                    pseudo[name] = field[1]
                    continue
                kind = self._judge(field)
            if kind == _SPECIAL:
                special.append(field)
                if field[0] == b"host":
                    if host is not None:
                        raise RequestError(400, "more than one host field")
                    host = field[1]
            elif kind == _COOKIE:
                crumbs.append(field[1])
                if len(crumbs) > 1:
                    continue
                crumbs_at = len(fields)
            fields.append(field)
        method = pseudo.get(b":method")
        is_connect = method == b"CONNECT"
        if method is None or (is_connect and b":protocol" in pseudo and not self._enable_connect):
            raise StreamFault(PROTOCOL_ERROR, "no :method, or a :protocol that was not offered")
        if is_cut or len(fields) + (host is None) > reader.max_headers:
            raise RequestError(
                431, f"more than {reader.max_headers} header fields, or more than {self._max_bytes} bytes"
            )
        if len(crumbs) > 1:  # RFC 9113 §8.2.3
            fields[crumbs_at] = (b"cookie", b"; ".join(crumbs))
        authority = pseudo.get(b":authority")
        if authority is None:
            authority = host
        elif host is None:
            fields.insert(0, (b"host", authority))
        elif host.lower() != authority.lower():
            raise RequestError(400, "Host is not :authority")
        special = [field for field in special if field[0] != b"host"]
        request = self._begin(pseudo, is_connect)
        request.fields = tuple(fields)
        request.memo = {}
        request.rest_memo = {}
        request.kind = request.forwarded = None
        reader.complete(request, special, authority)
        length = request.content_length
        if is_end and length:
            raise StreamFault(PROTOCOL_ERROR, "a content-length, and no content")
        request.has_body = not is_end and length != 0
        request.expects_continue = request.has_body and _expects_continue(request)
        if self._can_repeat:
            request.kind = self._kind_of(request)
        return request

    def _begin(self, pseudo: dict[bytes, bytes], is_connect: bool) -> Request:
        """Return a request with what its line would say in HTTP/1; raise ``StreamFault``, ``RequestError``."""
        path = pseudo.get(b":path")
        scheme = pseudo.get(b":scheme")
        protocol = pseudo.get(b":protocol")
        if is_connect and protocol is None:
            if path is not None or scheme is not None or b":authority" not in pseudo:
                raise StreamFault(PROTOCOL_ERROR, "malformed CONNECT")
            raise RequestError(501, "unknown method")
        if path is None or scheme is None or (protocol is not None and not is_connect):
            raise StreamFault(PROTOCOL_ERROR, "no :path or no :scheme, or a :protocol without CONNECT")
        if scheme not in (b"https", b"http"):
            raise RequestError(400, "unknown scheme")
        if protocol is not None:
            if b":authority" not in pseudo or not _NAME.fullmatch(protocol.lower()):
                raise StreamFault(PROTOCOL_ERROR, "malformed CONNECT")
            # Its path is checked as that of the GET which opens a WebSocket in HTTP/1.
            line = ("CONNECT", *self._line(b"GET", path)[1:])
            connect = ConnectRequest()
            connect.protocol = protocol.lower().decode("ascii")
            request: Request = connect
        else:
            line = self._line(pseudo[b":method"], path)
            request = Request()
        (
            request.method,
            request.raw_target,
            request.version,
            request.raw_path,
            request.path,
            request.query,
            _,
            request.line_memo,
        ) = line
        if is_connect:
            request.line_memo = {}
        return request

    def _line(self, method: bytes, path: bytes) -> Begun:
        return self._lines.get((method, path)) or self._read_line(method, path)

    def _kind_of(self, request: Request) -> object:
        """Return ``Request.kind``: as in HTTP/1, and with one If-None-Match its value beside it."""
        conditions = [field for field in request.fields if field[0] in CONDITIONS] if request.is_conditional else []
        if not conditions:
            return self._reader.kind_but_for_conditions(request)
        if len(conditions) > 1 or conditions[0][0] != b"if-none-match":
            return None
        kind = self._reader.kind_but_for_conditions(request)
        return None if kind is None else (kind, conditions[0][1])


def _put_together(line: Begun, tail: Tail, is_end: bool) -> Request | None:
    """Return a request of a line and fields that were seen behind another; None where they don't go together."""
    known = tail.request
    length = known.content_length
    if is_end and length:
        return None
    request = Request()
    (
        request.method,
        request.raw_target,
        request.version,
        request.raw_path,
        request.path,
        request.query,
        _,
        request.line_memo,
    ) = line
    request.fields = known.fields
    request.memo = {}
    request.rest_memo = known.rest_memo
    request.forwarded = known.forwarded
    request.authority = known.authority
    request.host = known.host
    request.hidden = known.hidden
    request.content_length = length
    request.has_body = not is_end and length != 0
    request.kind = None if request.has_body else tail.kind
    request.expects_continue = request.has_body and _expects_continue(known)
    request.is_chunked = False
    request.keep_alive = True
    request.is_conditional = known.is_conditional
    request.referer = known.referer
    request.user_agent = known.user_agent
    return request


def _expects_continue(request: Request) -> bool:
    """The only expectation that there is (another was refused); HTTP/1 looks at it only with a length or chunks."""
    return any(name == b"expect" for name, _ in request.fields)
