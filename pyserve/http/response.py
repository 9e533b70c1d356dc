"""Step 6 of the request path: status lines, error pages, and the check of an application's header block.

Pure.
"""

from __future__ import annotations

import re
from http import HTTPStatus

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# Names that RFC 9110 has changed since the standard library's table.
_PHRASES |= {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def phrase(status: int) -> str:
    return _PHRASES.get(status, "Status")


STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase(status)}\r\n".encode() for status in range(100, 600)}

# The end of most heads, ready for the lengths that most answers have.
END_OF_HEAD = tuple(f"content-length: {length}\r\n\r\n".encode() for length in range(4096))

# One pass over what a worker sent: lower-case token names, no control characters, and none of the fields that belong
# to the transport.
_BLOCK = re.compile(
    rb"(?:(?!(?:content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|te|trailer):)"
    rb"[!#$%&'*+\-.^_`|~0-9a-z]+: ?[\t\x20-\x7e\x80-\xff]*\r\n)*"
)


_clean_blocks: set[bytes] = set()


def is_clean_block(block: bytes) -> bool:
    """May this block of ``name: value\\r\\n`` lines go to a client as it is (RFC 9110 §5)?"""
    if block in _clean_blocks:
        return True
    if _BLOCK.fullmatch(block) is None:
        return False
    if len(block) <= 512:
        if len(_clean_blocks) >= 1024:
            _clean_blocks.clear()  # LIMIT: bounded; a block is checked again in half a microsecond
        _clean_blocks.add(block)
    return True


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
