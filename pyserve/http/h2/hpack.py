"""Steps 4 and 6 of the request path: heads of HTTP/2 as they lie in blocks of HPACK (RFC 7541). Pure.

A dynamic table never changes: what a block adds makes another one. So what was read by one table can be remembered
beside it, and connections whose clients sent the same share it (``heads``).

What we send refers to nothing but the static table: a block means the same on every connection, at any time, is coded
once for many answers, and can be cut and put together again.

HOT: ``decode`` for every block that is not remembered, ``encode_head`` for every answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyserve.http.h2.faults import ConnectionFault
from pyserve.http.h2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from pyserve.http.h2.huffman import HuffmanError
from pyserve.http.h2.huffman import decode as decode_huffman

if TYPE_CHECKING:
    from pyserve.http.h2.heads import Tail
    from pyserve.http.request import Request

Field = tuple[bytes, bytes]

# RFC 7541 appendix A.
_STATIC: Final = (
    b":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|"
    b":status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|"
    b"accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|"
    b"content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|"
    b"cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|"
    b"last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|"
    b"retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
STATIC_FIELDS: Final[tuple[Field, ...]] = tuple(
    (name, value) for name, _, value in (entry.partition(b" ") for entry in _STATIC.split(b"|"))
)
_BEFORE_DYNAMIC: Final[tuple[Field, ...]] = ((b"", b""), *STATIC_FIELDS)
FIRST_DYNAMIC: Final = len(_BEFORE_DYNAMIC)
MAX_TABLE_BYTES: Final = 4096
"""The default of SETTINGS_HEADER_TABLE_SIZE; we never say another."""
ENTRY_BYTES: Final = 32
"""What a field counts beside its bytes (RFC 7541 §4.1)."""
MAX_SIZE_UPDATES: Final = 2
"""In one block: the least that was wanted, and what is wanted now (RFC 7541 §4.2)."""
PATIENCE: Final = 4
"""A head this many times over its limits ends the connection; up to there it is read, for the table's sake."""

MAX_LITERALS: Final = 8192
MAX_LITERAL_BYTES: Final = 160


class Table:
    """A dynamic table of one moment, with the static one before it: ``fields[index]`` is what an index means."""

    __slots__ = ("blocks", "fields", "is_kept", "max_size", "size", "tails")

    def __init__(
        self, fields: tuple[Field, ...] = _BEFORE_DYNAMIC, size: int = 0, limit: int = MAX_TABLE_BYTES
    ) -> None:
        self.fields = fields
        self.size = size
        self.max_size = limit
        # What ``heads`` remembers of blocks that leave the table as it is.
        self.is_kept = False
        self.blocks: dict[bytes, Request] = {}
        self.tails: dict[tuple[bytes, bytes], Tail] = {}


class Literals:
    """Coded literals that were seen before. One per front."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, bytes] = {}

    def decode(self, coded: bytes) -> bytes:
        """Decode what is not ``known``; raise ``ConnectionFault``."""
        try:
            plain = decode_huffman(coded)
        except HuffmanError as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"Huffman code: {error}") from None
        if len(coded) <= MAX_LITERAL_BYTES:
            if len(self.known) >= MAX_LITERALS:
                self.known.clear()  # LIMIT: bounded; what comes again is decoded again
            self.known[coded] = plain
        return plain


def decode(
    block: bytes, table: Table, literals: Literals, max_fields: int, max_bytes: int
) -> tuple[list[Field], Table, bool]:
    """Return a block's fields, and the table behind it: the same object if that has not changed.

    Last: are there more fields? What is over ``max_fields``, or over ``max_bytes`` as RFC 9113 §6.5.2 counts them, is
    read for the table's sake but not kept. Raises ``ConnectionFault``.
    """
    fields: tuple[Field, ...] | list[Field] = table.fields
    size = table.size
    limit = table.max_size
    found: list[Field] = []
    count = total = updates = 0
    at = 0
    end = len(block)
    known = literals.known
    try:
        while at < end:
            byte = block[at]
            at += 1
            if byte >= 0x80:  # indexed (§6.1)
                index = byte & 0x7F
                if index == 0x7F:
                    index, at = _read_integer(block, at, 0x7F)
                if not index:
                    raise ConnectionFault(COMPRESSION_ERROR, "index 0")
                field = fields[index]
                if index >= FIRST_DYNAMIC:
                    total += len(field[0]) + len(field[1])
            elif 0x20 <= byte < 0x40:  # size of the table (§6.3)
                wanted = byte & 0x1F
                if wanted == 0x1F:
                    wanted, at = _read_integer(block, at, 0x1F)
                updates += 1
                if count or wanted > MAX_TABLE_BYTES or updates > MAX_SIZE_UPDATES:
                    raise ConnectionFault(COMPRESSION_ERROR, "update of the table's size")
                limit = wanted
                fields = list(fields)
                size = _evict(fields, size, limit)
                continue
            else:  # literal, to be indexed (§6.2.1) or not (§6.2.2, §6.2.3)
                mask = 0x3F if byte >= 0x40 else 0x0F
                index = byte & mask
                if index == mask:
                    index, at = _read_integer(block, at, mask)
                if index:
                    name = fields[index][0]
                else:
                    length = block[at]
                    at += 1
                    is_coded = length >= 0x80
                    length &= 0x7F
                    if length == 0x7F:
                        length, at = _read_integer(block, at, 0x7F)
                    name = block[at : at + length]
                    at += length
                    if is_coded:
                        name = known.get(name) or literals.decode(name)
                length = block[at]
                at += 1
                is_coded = length >= 0x80
                length &= 0x7F
                if length == 0x7F:
                    length, at = _read_integer(block, at, 0x7F)
                value = block[at : at + length]
                at += length
                if at > end:
                    break
                if is_coded:
                    value = known.get(value) or literals.decode(value)
                field = (name, value)
                total += len(name) + len(value)
                if byte >= 0x40:
                    if not isinstance(fields, list):
                        fields = list(fields)
                    size += len(name) + len(value) + ENTRY_BYTES
                    fields.insert(FIRST_DYNAMIC, field)
                    if size > limit:
                        size = _evict(fields, size, limit)
            count += 1
            if count <= max_fields and total + count * ENTRY_BYTES <= max_bytes:
                found.append(field)
            elif count > PATIENCE * max_fields or total > PATIENCE * max_bytes:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "a head of far too many fields")
    except IndexError:
        raise ConnectionFault(COMPRESSION_ERROR, "an index that means nothing, or a block that ends early") from None
    if at > end:
        raise ConnectionFault(COMPRESSION_ERROR, "a block that ends within a literal")
    if isinstance(fields, list):
        table = Table(tuple(fields), size, limit)
    return found, table, count > len(found)


def _evict(fields: list[Field], size: int, limit: int) -> int:
    """Drop the oldest entries until ``size`` is no more than ``limit``; return the size (RFC 7541 §4.3, §4.4)."""
    while size > limit:
        name, value = fields.pop()
        size -= len(name) + len(value) + ENTRY_BYTES
    return size


def _read_integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """Return an integer whose prefix is all ones (RFC 7541 §5.1), and the position behind it."""
    value = prefix
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ConnectionFault(COMPRESSION_ERROR, "an integer of too many bytes")


# What we send.

_PREFIXES: Final[dict[bytes, int]] = {}
for _index in range(len(STATIC_FIELDS), 0, -1):
    _PREFIXES[STATIC_FIELDS[_index - 1][0]] = _index
_STATUSES: Final[dict[int, bytes]] = {
    int(value): bytes((0x80 | index,))
    for index, (name, value) in enumerate(STATIC_FIELDS, 1)
    if name == b":status" and value
}
_NEVER_INDEXED: Final = frozenset((b"set-cookie", b"www-authenticate", b"proxy-authenticate"))
"""Secrets, or what leads to them: no proxy is to keep them in a table of its own (RFC 7541 §7.1.3)."""
_MAX_KNOWN_BLOCKS: Final = 1024
_MAX_KNOWN_BLOCK_BYTES: Final = 512

_known_blocks: dict[bytes, bytes] = {b"": b""}
_known_lengths: dict[int, bytes] = {-1: b""}

EMPTY_TABLE: Final = b"\x20"
"""We keep nothing in the client's table: due before the next head when it makes that smaller (RFC 7541 §4.2)."""


def encode_head(status: int, block: bytes, common: bytes = b"", length: int = -1) -> bytes:
    """Return the block of an answer's head.

    ``block``, ``common``: lower-case ``name: value\\r\\n`` lines, remembered apart; ``length``: Content-Length, -1 =
    there is none.
    """
    try:
        return b"%b%b%b%b" % (_STATUSES[status], _known_blocks[block], _known_blocks[common], _known_lengths[length])
    except KeyError:
        return b"".join((encode_status(status), encode_block(block), encode_block(common), _encode_length(length)))


def encode_status(status: int) -> bytes:
    known = _STATUSES.get(status)
    if known is None:
        known = _STATUSES[status] = b"\x08\x03%d" % status  # there are no more than 500
    return known


def encode_block(block: bytes) -> bytes:
    """Return lower-case ``name: value\\r\\n`` lines as fields."""
    known = _known_blocks.get(block)
    if known is None:
        parts: list[bytes] = []
        for line in block.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            parts.append(_encode_field(name, value.strip(b" \t")))
        known = b"".join(parts)
        if len(block) <= _MAX_KNOWN_BLOCK_BYTES:
            if len(_known_blocks) >= _MAX_KNOWN_BLOCKS:
                _known_blocks.clear()  # LIMIT: bounded; a block is coded again in a few microseconds
                _known_blocks[b""] = b""
            _known_blocks[block] = known
    return known


def _encode_length(length: int) -> bytes:
    if length < 0:
        return b""
    known = _known_lengths.get(length)
    if known is None:
        known = _encode_field(b"content-length", b"%d" % length)
        if length < 1024:
            _known_lengths[length] = known
    return known


def _encode_field(name: bytes, value: bytes) -> bytes:
    """Return a literal that is not to be indexed, without Huffman's code (RFC 7541 §6.2.2, §6.2.3)."""
    first = 0x10 if name in _NEVER_INDEXED else 0
    index = _PREFIXES.get(name, 0)
    if index:
        return _integer(first, 0x0F, index) + _integer(0, 0x7F, len(value)) + value
    return b"%c%b%b%b%b" % (first, _integer(0, 0x7F, len(name)), name, _integer(0, 0x7F, len(value)), value)


def _integer(first: int, prefix: int, value: int) -> bytes:
    """Return an integer (RFC 7541 §5.1) whose first byte has these bits beside its prefix."""
    if value < prefix:
        return bytes((first | value,))
    made = bytearray((first | prefix,))
    value -= prefix
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
