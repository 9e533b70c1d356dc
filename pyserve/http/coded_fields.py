"""What content coding on the way out does to an answer's fields: Vary, ETag, digests (RFC 9110, 9530).

Pure. Blocks are lower-case ``name: value\\r\\n`` lines without framing fields, as ``Exchange.send`` takes them.

Dropped from a coded answer: ``Accept-Ranges`` (there are no ranges of something that is made anew each time), and
every digest: ``Content-Digest`` is of the content as sent, and ``Repr-Digest`` (as ``Digest`` and ``Content-MD5``
before it) of the representation, of which the coding is a part (RFC 9530 §2, §3). An application's would be wrong, and
ours would not be what it vouches for. ``Unencoded-Digest`` stays right and stays.
"""

from __future__ import annotations

from typing import NamedTuple

from pyserve.http.codings import HasTypes, is_compressible

_DROPPED = frozenset(
    (b"accept-ranges", b"content-encoding", b"content-md5", b"digest", b"content-digest", b"repr-digest")
)


class Variants(NamedTuple):
    """One answer's blocks: as it is, and coded but for the line ``content-encoding``; None = not to be coded."""

    plain: bytes
    coded: bytes | None


def variants(block: bytes, compress: HasTypes) -> Variants:
    """Return what a block becomes on a route that compresses.

    ``Vary`` goes to every answer of a type on the list: caches must know that the other variant exists, also from the
    answer that is not coded (RFC 9110 §12.5.5).
    """
    lines = block.split(b"\r\n")
    lines.pop()
    content_type = b""
    may_code = True
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"content-type":
            content_type = value.strip(b" \t")
        elif name == b"content-encoding":
            may_code = may_code and value.strip(b" \t").lower() in (b"", b"identity")
        elif name == b"content-range" or (name == b"cache-control" and b"no-transform" in value.lower()):
            may_code = False
    if not content_type or not is_compressible(compress, content_type):
        return Variants(block, None)
    plain = vary_by_coding(lines)
    if not may_code:
        return Variants(_joined(plain), None)
    coded = [_weak(line) for line in plain if line[: line.find(b":")] not in _DROPPED]
    return Variants(_joined(plain), _joined(coded))


def coded_trailers(block: bytes) -> bytes:
    """Return what may follow a coded answer of an application's lines behind its body: the same as before it."""
    lines = block.split(b"\r\n")
    lines.pop()
    return _joined([_weak(line) for line in lines if line[: line.find(b":")] not in _DROPPED])


def not_modified(block: bytes, compress: HasTypes, none_match: bytes | None) -> bytes:
    """Return the block of a 304: with what the 200 would have had (RFC 9110 §15.4.5).

    It rarely says its type, so ``Vary`` goes to those without one too. A client that has the coded variant has a weak
    tag of it; a strong one would tell its cache that this answer is about something else (RFC 9111 §4.3.4).
    """
    lines = block.split(b"\r\n")
    lines.pop()
    for line in lines:
        if line.startswith(b"content-type:") and not is_compressible(compress, line[13:].strip(b" \t")):
            return block
    lines = vary_by_coding(lines)
    if none_match is not None:
        lines = [_weak(line) if _names_weakly(none_match, line) else line for line in lines]
    return _joined(lines)


def vary_by_coding(lines: list[bytes]) -> list[bytes]:
    """Return lines whose ``Vary`` names Accept-Encoding, in one line with what it named before."""
    names: list[bytes] = []
    for line in lines:
        if line.startswith(b"vary:"):
            names += [name.strip(b" \t") for name in line[5:].split(b",")]
    lowered = [name.lower() for name in names]
    if b"*" in names or b"accept-encoding" in lowered:
        return lines
    rest = [line for line in lines if not line.startswith(b"vary:")] if names else lines
    return [*rest, b"vary: " + b", ".join([*filter(None, names), b"accept-encoding"])]


def _weak(line: bytes) -> bytes:
    """The same content in another coding is the same for a reader, not byte for byte (RFC 9110 §8.8.1)."""
    if not line.startswith(b"etag:"):
        return line
    tag = line[5:].strip(b" \t")
    return b"etag: W/" + tag if tag.startswith(b'"') else line


def _names_weakly(none_match: bytes, line: bytes) -> bool:
    return line.startswith(b"etag:") and b"W/" + line[5:].strip(b" \t") in none_match


def _joined(lines: list[bytes]) -> bytes:
    return b"".join([line + b"\r\n" for line in lines])
