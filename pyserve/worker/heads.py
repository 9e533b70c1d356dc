"""Step 6 begins: an application's status and headers become the answer's block, checked.

Pure, with bounded memos: real applications send the same few headers again and again, and a header that was checked
once is one look-up. The front checks the block once more and would give up on this worker: here it is an error of the
application.

HOT: benchmarks/hello_wsgi.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..wire.codec import CLOSE, HAS_DATE, HAS_SERVER, NOT_IN_TRAILERS, TRAILED, UNKNOWN_LENGTH
from ..wire.frames import MAX_HEAD_PAYLOAD, MAX_LINES

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CLOSE = re.compile(rb"(?:^|,)[ \t]*close[ \t]*(?:,|$)", re.IGNORECASE)
_STATUS = re.compile(r"[2-5][0-9][0-9] [\t\x20-\x7e\x80-\xff]*")

# Hop-by-hop fields belong to the connection, which is the front's (RFC 9110 §7.6.1, PEP 3333 "Other HTTP Features").
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
# Different in every answer: not worth remembering.
_VARYING = frozenset(b"set-cookie etag last-modified location expires x-request-id".split())
_SPECIAL = frozenset([b"content-length", b"date", b"server", *_HOP_BY_HOP])
_MAX_REMEMBERED = 1024

_MAX_HEADS = 256
_NO_PAIRS = (str, bytes, bytearray, memoryview, set, frozenset)

_heads: dict[Any, tuple[bytes, int, int]] = {}
_lines: dict[Any, bytes] = {}
_names: dict[Any, bytes] = {}
known_statuses: dict[str, int] = {"200 OK": 200}

Head = tuple[bytes, int, int]
"""Block, flags of ANSWER, content length or UNKNOWN_LENGTH."""


def parse_status(status: Any) -> int:
    """Return the code of a WSGI status ("200 OK"); raise TypeError or ValueError."""
    code = known_statuses.get(status)
    if code is None:
        if type(status) is not str:
            raise TypeError(f"status must be a str, not {type(status).__name__}")
        match = _STATUS.fullmatch(status)
        if match is None:
            raise ValueError(f"status {status!r} is not a final status code and a reason")
        code = int(status[:3])
        if len(known_statuses) < _MAX_REMEMBERED:
            known_statuses[status] = code
    return code


def text_head(headers: Iterable[tuple[str, str]]) -> Head:
    """Return the head of WSGI headers (str, latin-1); raise TypeError or ValueError for headers that can't be sent."""
    fields = tuple(headers if type(headers) is list else _pairs(headers))
    try:
        head = _heads.get(fields)
    except TypeError:
        head = None  # a header is a list: no key, and slower
    return head or _make_head(fields, str)


def byte_head(headers: Iterable[Iterable[bytes]]) -> Head:
    """Return the head of ASGI headers (bytes); raise TypeError or ValueError for headers that can't be sent."""
    fields = tuple(headers if type(headers) is list else _pairs(headers))
    try:
        head = _heads.get(fields)
    except TypeError:
        head = None
    return head or _make_head(fields, bytes)


def trailed_head(headers: Iterable[Iterable[bytes]]) -> Head:
    """The same for an answer with trailers, where ``Trailer`` is the application's to say (RFC 9110 §6.6.2)."""
    fields = [field if type(field) is tuple else _pair(field) for field in _pairs(headers)]
    block, flags, length = byte_head(fields)
    announced = [value.strip(b" \t") for name, value in fields if name.lower() == b"trailer"]
    return block + b"".join([b"trailer: " + value + b"\r\n" for value in announced]), flags | TRAILED, length


def trailer_lines(headers: Iterable[Iterable[bytes]]) -> bytes:
    """Return the lines of ASGI trailers; raise TypeError or ValueError for what can't be sent behind a body."""
    lines = []
    for field in _pairs(headers):
        name, value = field if type(field) is tuple else _pair(field)
        if type(name) is not bytes or type(value) is not bytes:
            raise TypeError(f"trailer {name!r}: name and value must be bytes")
        lower = _names.get(name) or _checked_name(name)
        if lower in NOT_IN_TRAILERS:
            raise ValueError(f"{name!r} may not be a trailer field")
        if _CONTROL.search(value) is not None:
            raise ValueError(f"trailer {name!r} has a control character in its value {value!r}")
        lines.append(lower + b": " + value.strip(b" \t") + b"\r\n")
    return _not_too_long(b"".join(lines))


def link_lines(links: Iterable[bytes]) -> bytes:
    """Return the lines of a 103 answer with these values of ``Link``; raise TypeError or ValueError."""
    if isinstance(links, _NO_PAIRS):
        raise TypeError(f"links must be a list of bytes, not {type(links).__name__}")
    return _not_too_long(byte_head([(b"link", link) for link in links])[0])


def hint_lines(headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """Return the lines of a 103 answer with these headers; raise TypeError or ValueError."""
    pairs = [(_text(name), _text(value)) for name, value in _pairs(headers)]
    return _not_too_long(text_head(pairs)[0])


def _text(word: str | bytes) -> str:
    return word.decode("latin-1") if isinstance(word, bytes) else word


def _not_too_long(block: bytes) -> bytes:
    if len(block) > MAX_LINES:
        raise ValueError(f"{len(block)} bytes of fields beside an answer")
    return block


def _pairs(headers: Any) -> Any:
    """Let through what can hold pairs: the keys of a dict, or letters two by two, must not become fields."""
    if headers is None or isinstance(headers, (dict, *_NO_PAIRS)):
        raise TypeError(f"headers must be a list of pairs, not {type(headers).__name__}")
    return headers


def _pair(field: Any) -> tuple[Any, ...]:
    if type(field) is list or not (field is None or isinstance(field, (int, dict, *_NO_PAIRS))):
        return tuple(field)
    raise TypeError(f"header {field!r} is not a pair of name and value")


def _make_head(fields: tuple[Any, ...], kind: type) -> Head:
    lines = []
    flags = 0
    length = UNKNOWN_LENGTH
    is_varying = False
    for field in fields:
        if type(field) is not tuple:
            field = _pair(field)
        name, value = field
        line = _lines.get((name, value))
        if line is None:
            if type(name) is not kind or type(value) is not kind:
                wrong = f"{type(name).__name__} and {type(value).__name__}"
                raise TypeError(f"header {name!r}: name and value must be {kind.__name__}, not {wrong}")
            lower = _names.get(name) or _checked_name(name)
            raw = value if kind is bytes else value.encode("latin-1")
            if lower in _SPECIAL:
                line, flags, length = _special(lower, raw, flags, length)
                is_varying = is_varying or lower == b"date"
            else:
                line = _checked_line(name, value, lower, raw)
                is_varying = is_varying or lower in _VARYING
        lines.append(line)
    block = b"".join(lines)
    if len(block) > MAX_HEAD_PAYLOAD - 1024:
        raise ValueError(f"{len(block)} bytes of headers")
    head = (block, flags, length)
    if not is_varying and len(block) <= 1024 and all(type(field) is tuple for field in fields):
        if len(_heads) >= _MAX_HEADS:
            _heads.clear()
        _heads[fields] = head
    return head


def _checked_name(name: Any) -> bytes:
    raw = name if type(name) is bytes else name.encode("latin-1", "replace")
    if _TOKEN.fullmatch(raw) is None:
        raise ValueError(f"header name {name!r} is not a token")
    lower = raw.lower()
    if len(_names) < _MAX_REMEMBERED:
        _names[name] = lower
    return lower


def _checked_line(name: Any, value: Any, lower: bytes, raw: bytes) -> bytes:
    if _CONTROL.search(raw) is not None:
        raise ValueError(f"header {name!r} has a control character in its value {value!r}")
    line = lower + b": " + raw.strip(b" \t") + b"\r\n"
    if len(raw) <= 128 and lower not in _VARYING:
        if len(_lines) >= _MAX_REMEMBERED:
            _lines.clear()
        _lines[name, value] = line
    return line


def _special(lower: bytes, raw: bytes, flags: int, length: int) -> tuple[bytes, int, int]:
    """Return the line (or nothing) of a field that the front has to know about, and what it changes."""
    if lower == b"content-length":
        raw = raw.strip(b" \t")
        if not raw.isdigit() or len(raw) > 18:
            raise ValueError(f"content-length {raw!r} is not a number")
        if length >= 0 and length != int(raw):
            raise ValueError("two different content-length headers")
        return b"", flags, int(raw)
    if _CONTROL.search(raw) is not None:
        raise ValueError(f"header {lower!r} has a control character in its value {raw!r}")
    if lower in _HOP_BY_HOP:
        if lower == b"connection" and _CLOSE.search(raw) is not None:
            flags |= CLOSE
        return b"", flags, length
    line = lower + b": " + raw.strip(b" \t") + b"\r\n"
    return line, flags | (HAS_DATE if lower == b"date" else HAS_SERVER), length
