"""Step 4 of the request path: the raw bytes of a request head become the canonical request.

Pure. Our own strict pass stands before either parser: the request line, line ends, control characters, Host, Connection
and everything that frames a body are decided here, so both parsers give equal verdicts and what llhttp or h11 would
forgive never gets to them. The parser reads every other field whose name is new to this process. Since no such line
depends on the lines around it, what was read is remembered: real traffic repeats all but a few of its lines. And since
a browser's requests differ in little but the request line and a few fields, what is left without those is remembered
as one.

Sources: RFC 9112 §2 to §7, RFC 9110 §5, and the catalogue of attacks in tests/corpus/.

HOT: runs for every head that the front's memo doesn't know (benchmarks/files_small.py, varied).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from pyserve.errors import RequestError
from pyserve.http.hidden import CONNECTION_HIDDEN, NOTHING_HIDDEN, is_hidden, nominated
from pyserve.http.request import Memo, Request
from pyserve.http.target import parse_host, parse_target

if TYPE_CHECKING:
    from pyserve.http.forwarded import TrustedProxies

Field = tuple[bytes, bytes]
"""Lower-case name, value without outer white space."""


class FieldParser(Protocol):
    """Reads field lines, each with its CRLF; raises ``RequestError`` for what it can't read."""

    def __call__(self, lines: bytes) -> list[Field]: ...


METHODS = {
    name.encode(): name
    for name in (
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE",
        "LOCK", "UNLOCK", "SEARCH", "REPORT",
    )
}  # fmt: skip
_LEGAL_IN_HEAD = bytes([9, 10, 13, *range(0x20, 0x7F), *range(0x80, 0x100)])
LEGAL = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_OTHER_VERSION = re.compile(rb"[A-Z]{1,32} [\x21-\x7e]+ HTTP/[2-9](?:\.[0-9])?")
ILLEGAL_WORDS = "control character, bare CR or bare LF in the head"
# RFC 9110 §8.6 lets zeros lead; to a reader that takes them for octal it is another length.
_CONTENT_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
# Fields that we read ourselves, because they say what the message is and where it ends.
_OURS = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"))
# Two of these are two messages to two readers (RFC 9110 §5.3).
_SINGLETONS = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect", b"authorization",
     b"if-modified-since", b"if-unmodified-since")
)  # fmt: skip
# Fields that others want to know about in most requests.
CONDITIONS = frozenset(
    (b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
)
"""A field of these makes ``Request.is_conditional``."""
_WANTED = CONDITIONS | {b"referer", b"user-agent"}
_SPECIAL = _OURS | _SINGLETONS | _WANTED


def is_special(name: bytes) -> bool:
    """Does a field with this lower-case name change what a request means to us, or who may see it?"""
    return name in _SPECIAL or is_hidden(name)


# Fields that differ from request to request where all else is equal. None of them says what the message is, and none
# is one that may come only once, so a head is read the same with and without them.
# Their values are legal as they match; with anything else in it a line is none of these.
_VARIED = re.compile(rb"\r\n(Cookie|cookie|If-None-Match|if-none-match|Range|range): ([\t\x20-\x7e\x80-\xff]*)(?=\r\n)")
_VARIED_NAMES = {
    name: name.lower() for name in (b"Cookie", b"cookie", b"If-None-Match", b"if-none-match", b"Range", b"range")
}

_COOKIE = (b"Cookie", b"cookie")
# What a fixed answer may depend on beside the request line, Host and the conditions (``Request.kind``).
_SAID = frozenset((b"accept-encoding", b"sec-fetch-mode"))

MAX_REMEMBERED_FIRST_LINES = 16384
MAX_REMEMBERED_LINES = 4096
MAX_REMEMBERED_RESTS = 4096
MAX_REMEMBERED_REST_BYTES = 2048
MAX_REMEMBERED_BYTES = 512
"""Of one line: longer ones are rarely seen twice."""


Begun = tuple[str, bytes, str, bytes, str, bytes, bytes | None, Memo]


class Rest:
    """Fields that come again. ``places``: how many of them stand before an offset of ``raw``, where one was asked.

    ``request``: with these fields alone, and some request line. ``kind``: as there.
    """

    __slots__ = ("kind", "places", "raw", "request")

    def __init__(self, raw: bytes, request: Request, kind: object) -> None:
        self.raw = raw
        self.request = request
        self.kind = kind
        self.places: dict[int, int] = {}

    def place_of(self, offset: int) -> int:
        place = self.places[offset] = self.raw.count(b"\r\n", 0, offset)
        return place


Parts = tuple[bytes, bytes, list[bytes], Rest | None, object]
"""Request line; the fields that come again; the others as ``_put_together`` wants them; what is known of the former;
the request's kind."""


class HeadReader:
    """Raw heads to requests. One per front: it remembers lines, so its ``read`` is cheap for what it has seen."""

    __slots__ = (
        "_first",
        "_hosts",
        "_kinds",
        "_names",
        "_parse",
        "_plain",
        "_proxies",
        "_rests",
        "_sights",
        "_special",
        "max_headers",
    )

    def __init__(self, parse: FieldParser, max_headers: int, proxies: TrustedProxies | None = None) -> None:
        """``proxies``: for connections of trusted proxies, whose word about the client counts."""
        self._parse = parse
        self.max_headers = max_headers
        self._proxies = proxies
        self._first: dict[bytes, Begun] = {}
        self._rests: dict[bytes, Rest] = {}
        self._sights: set[int] = set()
        self._kinds: dict[tuple[str, tuple[Field, ...]], object] = {}
        self._names: dict[bytes, tuple[bytes, bool]] = {}
        self._plain: dict[bytes, Field] = {}
        self._special: dict[bytes, Field] = {}
        self._hosts: dict[bytes, tuple[str, str]] = {}

    def read(self, raw: bytes) -> Request:
        """Return the canonical request of a complete head (with its empty line); raise ``RequestError``."""
        return self.read_parts(raw, self.take_apart(raw))

    def take_apart(self, raw: bytes) -> Parts:
        """Look at what comes again of a complete head; nothing is checked that was not checked before."""
        end = raw.find(b"\r\n")
        varied = _VARIED.split(raw[end:])
        if len(varied) == 1:
            rest = varied[0]
            known = self._rests.get(rest)
            return raw[:end], rest, varied, known, None if known is None else known.kind
        rest = b"".join(varied[::3])
        known = self._rests.get(rest)
        if known is None or known.kind is None or len(varied) > 10:  # more than three: they may be too many
            return raw[:end], rest, varied, known, None
        kind = known.kind
        if len(varied) == 4 and varied[1] in _COOKIE:
            return raw[:end], rest, varied, known, kind
        for number in range(1, len(varied), 3):
            name = _VARIED_NAMES[varied[number]]
            if name == b"if-none-match":
                kind = (kind, varied[number + 1])
            elif name == b"range":
                kind = None  # few are asked for again
                break
        return raw[:end], rest, varied, known, kind

    def line_memo(self, first: bytes) -> Memo | None:
        """Return ``Request.line_memo`` of a request line, None if that is not remembered."""
        begun = self._first.get(first)
        return None if begun is None else begun[7]

    def read_parts(self, raw: bytes, parts: Parts) -> Request:
        """Return what ``read`` would."""
        first, rest, varied, known, kind = parts
        try:
            if known is None:
                request = self._read(raw)
                self._remember_rest(rest, request)
                return request
            return self._put_together(first, known, varied, kind) or self._read(raw)
        except RequestError:
            # The same verdict as of a head that comes in pieces, where these are seen first.
            check_request_line(raw)
            if has_illegal(raw, 0, len(raw)):
                raise RequestError(400, ILLEGAL_WORDS) from None
            raise

    def forget_lines(self) -> None:
        """Let go of request lines, with what others keep beside them."""
        self._first.clear()

    def _put_together(self, first: bytes, known: Rest, varied: list[bytes], kind: object) -> Request | None:
        """Return what ``_read`` would, from a request line, the fields that come again, and those that don't; None
        where the line changes what the fields mean.

        ``varied``: the lines up to the first of those, then its name, its value, and the lines up to the next one.
        """
        begun = self._first.get(first) or self._read_first(first)
        request = Request()
        (
            request.method,
            request.raw_target,
            request.version,
            request.raw_path,
            request.path,
            request.query,
            authority,
            request.line_memo,
        ) = begun
        if request.version != "1.1" or authority is not None:
            return None
        rest = known.request
        fields = rest.fields
        request.is_conditional = rest.is_conditional
        if len(varied) > 1:
            offset = 0
            for number in range(1, len(varied), 3):
                name = _VARIED_NAMES[varied[number]]
                offset += len(varied[number - 1])
                place = known.places.get(offset)
                if place is None:
                    place = known.place_of(offset)
                place += number // 3  # those that were put in before
                fields = (*fields[:place], (name, varied[number + 1].strip(b" \t")), *fields[place:])
                if name != b"cookie":
                    request.is_conditional = True
            if len(fields) > self.max_headers:
                return None
        request.fields = fields
        request.memo = {}
        request.kind = kind
        request.rest_memo = rest.rest_memo
        request.forwarded = rest.forwarded
        request.authority = rest.authority
        request.host = rest.host
        request.hidden = rest.hidden
        request.content_length = rest.content_length
        request.is_chunked = request.has_body = request.expects_continue = False
        request.keep_alive = rest.keep_alive
        request.referer = rest.referer
        request.user_agent = rest.user_agent
        return request

    def _remember_rest(self, rest: bytes, request: Request) -> None:
        """Keep what a head is without its request line and what varies, from its second sight on."""
        if (
            request.has_body
            or request.version != "1.1"
            or not request.raw_target.startswith(b"/")
            or len(rest) > MAX_REMEMBERED_REST_BYTES
        ):
            return
        sight = hash(rest)
        if sight not in self._sights:
            if len(self._sights) >= 4 * MAX_REMEMBERED_RESTS:
                self._sights.clear()
            self._sights.add(sight)
            return
        if len(self._rests) >= MAX_REMEMBERED_RESTS:
            self._rests.clear()  # LIMIT: bounded; what comes again is read again
        request = self._read(b"GET / HTTP/1.1" + rest)
        self._rests[rest] = Rest(rest, request, self.kind_of(request))

    def _read(self, raw: bytes) -> Request:
        first, *lines = raw[:-4].split(b"\r\n")
        begun = self._first.get(first) or self._read_first(first)
        if len(lines) > self.max_headers:
            raise RequestError(431, f"more than {self.max_headers} header fields")
        fields: list[Field | None] = list(map(self._plain.get, lines))
        special: list[Field] = []
        for at, field in enumerate(fields):
            if field is None:
                line = lines[at]
                field = self._special.get(line)
                if field is not None:
                    fields[at] = field
                    special.append(field)
                else:
                    fields[at] = self._read_line(line, special)

        request = Request()
        (
            request.method,
            request.raw_target,
            request.version,
            request.raw_path,
            request.path,
            request.query,
            authority,
            request.line_memo,
        ) = begun
        request.fields = tuple(fields)  # type: ignore[arg-type]
        request.memo = {}
        request.rest_memo = {}
        request.kind = request.forwarded = None
        self.complete(request, special, authority)
        return request

    def complete(self, request: Request, special: list[Field], authority: bytes | None) -> None:
        """Set what the special fields say, of a request of any version whose line and fields are set.

        ``authority``: what was asked for in Host's place (RFC 9112 §3.2.2, RFC 9113 §8.3.1). Raises ``RequestError``.
        """
        host = _interpret(request, special, authority)
        if authority is not None:
            if host is not None and host != authority:
                self._read_host(host)
            request.authority, request.host = self._hosts.get(authority) or self._read_host(authority)
        elif host is not None:
            request.authority, request.host = self._hosts.get(host) or self._read_host(host)
        else:
            request.authority = request.host = ""
        if self._proxies is not None:
            forwarded = request.forwarded = self._proxies.read(special)
            if forwarded.authority is not None:
                request.authority, request.host = self._read_host(forwarded.authority)

    def kind_of(self, request: Request) -> object:
        """Return one object for all requests that differ in nothing that a fixed answer may depend on."""
        return None if request.is_conditional else self.kind_but_for_conditions(request)

    def kind_but_for_conditions(self, request: Request) -> object:
        """Return the same for requests of which the conditions don't count."""
        # With a few fields more than these there would be too many.
        if not request.keep_alive or len(request.fields) + 4 > self.max_headers:
            return None
        said = tuple(field for field in request.fields if field[0] in _SAID)
        if len(self._kinds) >= MAX_REMEMBERED_LINES:
            self._kinds.clear()
        return self._kinds.setdefault((request.authority, said), object())

    def _read_first(self, first: bytes) -> Begun:
        """Read a request line that is not remembered, with its target, and remember it."""
        method, target, version = _read_request_line(first)
        begun: Begun = (method, target, version, *parse_target(method, target), {})
        if len(first) <= MAX_REMEMBERED_BYTES:
            if len(self._first) >= MAX_REMEMBERED_FIRST_LINES:
                self._first.clear()
            self._first[first] = begun
        return begun

    def _read_line(self, line: bytes, special: list[Field]) -> Field:
        """Read a field line that is not remembered, and remember it; add it to the special ones if it is one."""
        if line.translate(None, LEGAL):
            raise RequestError(400, ILLEGAL_WORDS)
        name, colon, value = line.partition(b":")
        known = self._names.get(name)
        if known is None or not colon:
            known = self._read_name(name, line)
        lower, is_special = known
        field = (lower, value.strip(b" \t"))
        if is_special:
            special.append(field)
        if len(line) <= MAX_REMEMBERED_BYTES:
            remembered = self._special if is_special else self._plain
            if len(remembered) >= MAX_REMEMBERED_LINES:
                remembered.clear()  # LIMIT: bounded; what comes again is read again
            remembered[line] = field
        return field

    def _read_name(self, name: bytes, line: bytes) -> tuple[bytes, bool]:
        """Let the parser read a line whose name is new; return the name in lower case, and whether it is special.

        Once it has read a name, a value of legal characters behind it is a value to either parser.
        """
        lower = name.lower()
        if lower not in _OURS or name == line:
            if line[:1] in (b" ", b"\t", b""):
                raise RequestError(400, "folded or indented header line")
            parsed = self._parse(line + b"\r\n")
            if len(parsed) != 1 or parsed[0] != (lower, line[len(name) + 1 :].strip(b" \t")):
                raise RequestError(400, "malformed header line")
        if len(self._names) >= MAX_REMEMBERED_LINES:
            self._names.clear()
        known = self._names[name] = (lower, is_special(lower))
        return known

    def _read_host(self, value: bytes) -> tuple[str, str]:
        known = parse_host(value)
        if len(self._hosts) >= MAX_REMEMBERED_LINES:
            self._hosts.clear()
        self._hosts[value] = known
        return known


def has_illegal(data: bytes, start: int, end: int) -> bool:
    """Is there what no head may have: a CR that no LF follows, an LF without its CR, or another control character?

    Looks at ``data[start:end]`` of a head that may be incomplete (its last byte may be a CR), all legal before
    ``start``. Counts, because searching would cost 20 ns a byte, and who sends junk sends much of it.
    """
    if start and data[start : start + 1] == b"\n":
        start -= 1
    part = data[start:end]
    pairs = part.count(b"\r\n")
    return bool(
        part.translate(None, _LEGAL_IN_HEAD)
        or part.count(b"\n") != pairs
        or part.count(b"\r") != pairs + part.endswith(b"\r")
    )


def check_request_line(raw: bytes) -> None:
    """Raise ``RequestError`` if the first line of a head, or of a part of one, is complete and is no request line."""
    end = raw.find(b"\r\n")
    if end >= 0:
        if has_illegal(raw, 0, end + 2):
            raise RequestError(400, ILLEGAL_WORDS)
        _read_request_line(raw[:end])


def _read_request_line(first: bytes) -> tuple[str, bytes, str]:
    """Return method, target and version ("1.0" or "1.1"); raise ``RequestError``."""
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        if _OTHER_VERSION.fullmatch(first):
            raise RequestError(505, "unsupported HTTP version")
        raise RequestError(400, "malformed request line")
    name, target, major, minor = match.groups()
    if major != b"1":
        raise RequestError(505, "unsupported HTTP version")
    method = find_method(name)
    # A later minor version means to a server of ours what 1.1 does (RFC 9110 §2.5).
    return method, target, "1.0" if minor == b"0" else "1.1"


def find_method(name: bytes) -> str:
    """Return the method of this name; raise ``RequestError``."""
    method = METHODS.get(name)
    if method is None:
        raise RequestError(501 if name.isupper() else 400, "unknown method")
    return method


def _interpret(request: Request, special: list[Field], authority: bytes | None) -> bytes | None:
    """Set what the special fields say of the message; return Host's value. Raises ``RequestError``."""
    version = request.version
    host = length = coding = None
    request.keep_alive = version != "1.0"
    request.is_conditional = False
    hidden = NOTHING_HIDDEN
    request.referer = request.user_agent = b"-"
    expects_continue = False
    seen: set[bytes] = set()
    for name, value in special:
        if name == b"host" and host is None:
            host = value
        elif name == b"connection":
            hidden = hidden | CONNECTION_HIDDEN if hidden else CONNECTION_HIDDEN
            if value == b"keep-alive" and version == "1.1":
                continue
            tokens = {token.strip(b" \t") for token in value.lower().split(b",")}
            hidden |= nominated(tokens)
            if b"close" in tokens:
                request.keep_alive = False
                version = ""  # and a keep-alive beside it changes nothing
            elif b"keep-alive" in tokens and version == "1.0":
                request.keep_alive = True
        elif name == b"user-agent":
            request.user_agent = value
        elif name == b"referer":
            request.referer = value
        elif name in _SINGLETONS:
            if name in seen or name == b"host":
                raise RequestError(400, f"more than one {name.decode('ascii')} field")
            seen.add(name)
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                coding = value
                hidden |= {name}
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise RequestError(417, "unknown expectation")
                expects_continue = request.version != "1.0"
            elif name in _WANTED:
                request.is_conditional = True
        elif name in _WANTED:
            request.is_conditional = True
        else:
            hidden |= {name}
    request.hidden = hidden
    if host is None and request.version != "1.0" and (authority is None or request.version == "1.1"):
        raise RequestError(400, "no Host")
    if length is None and coding is None:
        request.content_length = None
        request.is_chunked = request.has_body = request.expects_continue = False
    else:
        _frame(request, length, coding)
        request.expects_continue = expects_continue and request.has_body
    return host


def _frame(request: Request, length: bytes | None, coding: bytes | None) -> None:
    """Decide the body's framing (RFC 9112 §6.3); raise ``RequestError``."""
    if coding is not None:
        if length is not None or request.version == "1.0":
            raise RequestError(400, "ambiguous body framing")
        if coding.lower() != b"chunked":
            raise _wrong_coding(coding)
        request.content_length = None
        request.is_chunked = request.has_body = True
        return
    if length is None or not _CONTENT_LENGTH.fullmatch(length):
        raise RequestError(400, "bad Content-Length")
    request.content_length = int(length)
    request.is_chunked = False
    request.has_body = request.content_length > 0


def _wrong_coding(coding: bytes) -> RequestError:
    """Say what is wrong with a Transfer-Encoding that is not just chunked (RFC 9112 §6.1, §6.3)."""
    names = [part.strip(b" \t").partition(b";")[0].rstrip(b" \t") for part in coding.lower().split(b",")]
    if not all(names) or b"chunked" in names[:-1] or names == [b"chunked"]:
        return RequestError(400, "chunked has to come once, and last")
    return RequestError(501, "unknown transfer coding")
