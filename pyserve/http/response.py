"""Step 6 of the request path: status lines, error pages, and the check of an application's header block.

Pure.
"""

from __future__ import annotations

import re

# RFC 9110 §15 and the IANA registry. The standard library's ``http`` has old names for some, and an enum to make at
# every start of a front.
_PHRASES = {
    100: "Continue",
    101: "Switching Protocols",
    102: "Processing",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    418: "I'm a Teapot",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    510: "Not Extended",
    511: "Network Authentication Required",
}


def phrase(status: int) -> str:
    return _PHRASES.get(status, "Status")


STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase(status)}\r\n".encode() for status in range(100, 600)}

# The end of most heads, ready for the lengths that most answers have.
_END_OF_HEAD = tuple(b"content-length: %d\r\n\r\n" % length for length in range(1024))


def end_of_head(length: int) -> bytes:
    """Return Content-Length and the empty line."""
    return _END_OF_HEAD[length] if length < 1024 else b"content-length: %d\r\n\r\n" % length


# One pass over what a worker sent: lower-case token names, no control characters, and none of the fields that belong
# to the transport. Possessive throughout: a worker's block is hostile input, and has to fail in one pass if it does.
_BLOCK = re.compile(
    rb"(?:(?!(?:content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|te):)"
    rb"[!#$%&'*+\-.^_`|~0-9a-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+"
)


known_clean_blocks: set[bytes] = set()


def is_clean_block(block: bytes) -> bool:
    """May this block of ``name: value\\r\\n`` lines go to a client as it is (RFC 9110 §5)?"""
    if block in known_clean_blocks:
        return True
    if _BLOCK.fullmatch(block) is None:
        return False
    if len(block) <= 512:
        if len(known_clean_blocks) >= 1024:
            known_clean_blocks.clear()  # LIMIT: bounded; a block is checked again in half a microsecond
        known_clean_blocks.add(block)
    return True


def without_trailer(block: bytes) -> bytes:
    """Return a block's lines without ``trailer``: what it announces will not come (RFC 9110 §6.6.2)."""
    return b"\r\n".join([line for line in block.split(b"\r\n") if not line.startswith(b"trailer:")])


def has_no_body(status: int) -> bool:
    """RFC 9110 §6.4.1: these answers never have content, whatever their fields say."""
    return status < 200 or status in (204, 304)


def error_page(status: int, incident: str) -> bytes:
    """Return the body of an error answer: the status, its phrase and, for 5xx, the id that the log has too."""
    title = f"{status} {phrase(status)}"
    note = f"<p>Incident <code>{incident}</code>: the log of the server has more.</p>" if incident else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem}"
        "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}</style>"
        f"<h1>{title}</h1>{note}</html>\n"
    ).encode()


ERROR_BLOCK = b"content-type: text/html; charset=utf-8\r\ncache-control: no-store\r\n"
