"""Step 4 of the request path: the raw bytes of a request head become the canonical request.

Pure. Our own strict pass stands before either parser and our own checks after it, so both give equal verdicts: what
llhttp or h11 would forgive never gets to them, what they don't look at (Host, duplicates, counts, lists) is looked at
here. Sources: RFC 9112 §2 to §7, RFC 9110 §5, and the catalogue of attacks that tests/corpus/ holds.

HOT: runs for every head that the front's memo doesn't know (benchmarks/files_small.py, varied).
"""

from __future__ import annotations

import re
from typing import Protocol

from pyserve.errors import RequestError
from pyserve.http.request import Request
from pyserve.http.target import parse_host, parse_target

RawHead = tuple[bytes, bytes, list[tuple[bytes, bytes]]]
"""Method, target, fields (lower-case name, value without outer white space)."""


class HeadParser(Protocol):
    """Splits a complete, already strictly checked head. Raises ``RequestError`` for what it can't read."""

    def __call__(self, raw: bytes) -> RawHead: ...


METHODS = frozenset(
    [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "PATCH",
        "PROPFIND",
        "PROPPATCH",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "SEARCH",
        "REPORT",
    ]
)
_LEGAL = bytes([9, 10, 13, *range(0x20, 0x7F), *range(0x80, 0x100)])
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n")
_OTHER_VERSION = re.compile(rb"[A-Z]+ [\x21-\x7e]+ HTTP/[2-9](?:\.[0-9])?\r\n")
_CONTENT_LENGTH = re.compile(rb"[0-9]{1,19}")
# Fields that say what the message is: two of them are two messages to two readers (RFC 9110 §5.3).
_SINGLETONS = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect", b"authorization", b"from",
     b"if-modified-since", b"if-unmodified-since", b"max-forwards", b"referer", b"user-agent")
)  # fmt: skip
_SPECIAL = _SINGLETONS | {b"connection"}
_hosts: dict[bytes, tuple[str, str]] = {}


def check_raw(raw: bytes) -> re.Match[bytes]:
    """The strict pass: raise ``RequestError`` for bytes that no two parsers agree on.

    Return the request line's match.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        if _OTHER_VERSION.match(raw):
            raise RequestError(505, "unsupported HTTP version")
        raise RequestError(400, "malformed request line")
    if line[3] != b"1" or line[4] not in b"01":
        raise RequestError(505, "unsupported HTTP version")
    if raw.translate(None, _LEGAL):
        raise RequestError(400, "control character in the head")
    ends = raw.count(b"\r\n")
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends:
        raise RequestError(400, "bare CR or LF in the head")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise RequestError(400, "folded or indented header line")
    return line


def make_request(raw: bytes, parse: HeadParser, max_headers: int) -> Request:
    """Return the canonical request of a complete head (with its empty line); raise ``RequestError``."""
    line = check_raw(raw)
    if raw.count(b"\r\n") - 2 > max_headers:
        raise RequestError(431, f"more than {max_headers} header fields")
    method = line[1].decode("ascii")
    if method not in METHODS:
        raise RequestError(501 if method.isupper() else 400, "unknown method")
    version = "1.1" if line[4] == b"1" else "1.0"
    lowered = raw.lower()
    if b"\r\ncontent-length:" in lowered or b"\r\ntransfer-encoding:" in lowered:
        # Before the parsers: both have opinions of their own on these two.
        content_length, is_chunked = _framing(lowered, version)
    else:
        content_length, is_chunked = None, False
    _, target, fields = parse(raw)

    host = None
    keep_alive = version == "1.1"
    expects_continue = False
    seen: set[bytes] = set()
    for name, value in fields:
        if name in _SPECIAL:
            if name == b"connection":
                for token in value.lower().split(b","):
                    token = token.strip(b" \t")
                    if token == b"close":
                        keep_alive = False
                    elif token == b"keep-alive" and version == "1.0" and b"close" not in value.lower():
                        keep_alive = True
                continue
            if name in seen:
                raise RequestError(400, f"more than one {name.decode('ascii')} field")
            seen.add(name)
            if name == b"host":
                host = value
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise RequestError(417, "unknown expectation")
                expects_continue = version == "1.1"

    request = Request()
    request.method = method
    request.raw_target = target
    request.raw_path, request.path, request.query, authority = parse_target(method, target)
    if host is None and version == "1.1":
        raise RequestError(400, "no Host")
    if host is not None:
        request.authority, request.host = _host(host)
    elif authority is None:
        request.authority = request.host = ""
    if authority is not None:
        request.authority, request.host = _host(authority)
    request.version = version
    request.fields = tuple(fields)
    request.content_length = content_length
    request.is_chunked = is_chunked
    request.keep_alive = keep_alive
    request.expects_continue = expects_continue and (is_chunked or bool(content_length))
    request.memo = {}
    return request


def _host(value: bytes) -> tuple[str, str]:
    known = _hosts.get(value)
    if known is None:
        known = parse_host(value)
        if len(_hosts) >= 4096:
            _hosts.clear()  # LIMIT: bounded, refilled in microseconds
        _hosts[value] = known
    return known


def _framing(lowered: bytes, version: str) -> tuple[int | None, bool]:
    """Decide the body's framing from the lower-cased head (RFC 9112 §6.3); raise ``RequestError``."""
    lengths = _values(lowered, b"content-length")
    codings = _values(lowered, b"transfer-encoding")
    if codings:
        if lengths or len(codings) > 1 or version == "1.0":
            raise RequestError(400, "ambiguous body framing")
        if codings[0] != b"chunked":
            raise RequestError(501 if codings[0] else 400, "unknown transfer coding")
        return None, True
    if len(lengths) > 1 or not _CONTENT_LENGTH.fullmatch(lengths[0]):
        raise RequestError(400, "bad Content-Length")
    return int(lengths[0]), False


def _values(lowered: bytes, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for value in re.findall(rb"\r\n" + name + rb":([^\r\n]*)", lowered)]
