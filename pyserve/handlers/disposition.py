"""``Content-Disposition: attachment`` for a file that a query asks to download (RFC 6266, RFC 8187). Pure."""

from __future__ import annotations

_MOST_BYTES = 200
_PLAIN = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~"
)  # attr-char of RFC 8187


def attachment(query: bytes, path: str) -> bytes:
    """Return the header line that ``?download`` or ``?download=NAME`` asks for; b"" if the query does not.

    Without a NAME it is the last segment of ``path``. Of a NAME only what follows its last slash counts, and neither
    control characters nor a dot in front stay: it is to be a file's name on somebody's disk.
    """
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if key == b"download":
            from urllib.parse import unquote_to_bytes  # 3 ms that most fronts never pay

            raw = unquote_to_bytes(value.replace(b"+", b" ")) if value else path.encode("utf-8", "surrogateescape")
            return _line(raw)
    return b""


def _line(raw: bytes) -> bytes:
    name = raw.replace(b"\\", b"/").rpartition(b"/")[2].decode("utf-8", "replace")
    name = "".join(character for character in name if character.isprintable()).lstrip(". ")
    name = name.encode()[:_MOST_BYTES].decode("utf-8", "ignore").rstrip()
    if not name:
        return b"content-disposition: attachment\r\n"
    plain = "".join(character if " " <= character <= "~" and character not in '"\\%' else "_" for character in name)
    line = b'content-disposition: attachment; filename="%b"' % plain.encode()
    if plain != name:
        encoded = b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in name.encode())
        line += b"; filename*=UTF-8''" + encoded
    return line + b"\r\n"
