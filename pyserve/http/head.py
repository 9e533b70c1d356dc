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


METHODS = {
    name.encode(): name
    for name in (
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE",
        "LOCK", "UNLOCK", "SEARCH", "REPORT",
    )
}  # fmt: skip
_LEGAL_IN_LINES = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
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


def check_raw(raw: bytes, max_headers: int) -> tuple[bytes, str, int]:
    """The strict pass: raise ``RequestError`` for bytes that no two parsers agree on.

    Returns the method, the version ("1.0" or "1.1") and how many field lines there are.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        if _OTHER_VERSION.match(raw):
            raise RequestError(505, "unsupported HTTP version")
        raise RequestError(400, "malformed request line")
    method, major, minor = line.group(1, 3, 4)
    if major != b"1" or minor not in b"01":
        raise RequestError(505, "unsupported HTTP version")
    # Without its line ends a head has no CR and LF left, nor any other control character.
    text = raw.replace(b"\r\n", b"")
    if text.translate(None, _LEGAL_IN_LINES):
        raise RequestError(400, "control character, bare CR or bare LF in the head")
    count = (len(raw) - len(text)) // 2 - 2
    if count > max_headers:
        raise RequestError(431, f"more than {max_headers} header fields")
    return method, "1.1" if minor == b"1" else "1.0", count


def make_request(raw: bytes, parse: HeadParser, max_headers: int) -> Request:
    """Return the canonical request of a complete head (with its empty line); raise ``RequestError``."""
    method_bytes, version, count = check_raw(raw, max_headers)
    method = METHODS.get(method_bytes)
    if method is None:
        raise RequestError(501 if method_bytes.isupper() else 400, "unknown method")
    try:
        _, target, fields = parse(raw)
    except RequestError:
        _framing(_values(raw, b"content-length"), _values(raw, b"transfer-encoding"), version)
        raise
    if len(fields) != count:
        raise RequestError(400, "folded header line")

    host = length = coding = None
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
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                coding = value
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise RequestError(417, "unknown expectation")
                expects_continue = version == "1.1"

    request = Request()
    if length is None and coding is None:
        request.content_length = None
        request.is_chunked = False
        request.has_body = False
        request.expects_continue = False
    else:
        content_length, is_chunked = _framing(
            [] if length is None else [length], [] if coding is None else [coding], version
        )
        request.content_length = content_length
        request.is_chunked = is_chunked
        request.has_body = is_chunked or bool(content_length)
        request.expects_continue = expects_continue and request.has_body
    request.method = method
    request.raw_target = target
    request.raw_path, request.path, request.query, authority = parse_target(method, target)
    if host is None and version == "1.1":
        raise RequestError(400, "no Host")
    if host is not None:
        request.authority, request.host = _hosts.get(host) or _host(host)
    else:
        request.authority = request.host = ""
    if authority is not None:
        request.authority, request.host = _host(authority)
    request.version = version
    request.fields = tuple(fields)
    request.keep_alive = keep_alive
    request.memo = {}
    return request


def _host(value: bytes) -> tuple[str, str]:
    known = parse_host(value)
    if len(_hosts) >= 4096:
        _hosts.clear()  # LIMIT: bounded, refilled in microseconds
    _hosts[value] = known
    return known


def _framing(lengths: list[bytes], codings: list[bytes], version: str) -> tuple[int | None, bool]:
    """Decide the body's framing (RFC 9112 §6.3): ``(content length, is chunked)``; raise ``RequestError``."""
    if codings:
        if lengths or len(codings) > 1 or version == "1.0":
            raise RequestError(400, "ambiguous body framing")
        if codings[0].lower() != b"chunked":
            raise RequestError(501 if codings[0] else 400, "unknown transfer coding")
        return None, True
    if lengths and (len(lengths) > 1 or not _CONTENT_LENGTH.fullmatch(lengths[0])):
        raise RequestError(400, "bad Content-Length")
    return int(lengths[0]) if lengths else None, False


def _values(raw: bytes, name: bytes) -> list[bytes]:
    """Return a field's values from the raw head: for what a parser refused to read."""
    found = re.findall(rb"\r\n" + name + rb":([^\r\n]*)", raw, re.IGNORECASE)
    return [value.strip(b" \t") for value in found]
