"""Several ranges in one answer: ``multipart/byteranges`` (RFC 9110 §14.6, RFC 2046 §5.1).

Pure: the boundary comes from the caller, who has to take one that the content can't have (128 random bits do). Only
what stands around the parts is made here; whose bytes they are and how they travel is the transport's business.

The answer's own fields have no Content-Range, which each part has (§14.4, §15.3.7.2), and the Content-Type of
``multipart_type``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Frames(NamedTuple):
    """``heads[n]`` goes before part n, ``tail`` behind the last; ``length`` is all of it, for Content-Length."""

    heads: list[bytes]
    tail: bytes
    length: int


def multipart_type(boundary: bytes) -> bytes:
    """Return the answer's Content-Type. No quotes: some clients take them for a part of the boundary (§14.6)."""
    return b"multipart/byteranges; boundary=" + boundary


def frame_parts(parts: Sequence[tuple[int, int]], size: int, content_type: bytes, boundary: bytes) -> Frames:
    """Return what stands around ``parts``, (first byte, count) each, of a content of ``size`` bytes.

    ``content_type``: as the whole would have, b"" for none. ``boundary``: 1 to 70 letters and digits.
    """
    start = b"\r\n--%b\r\n" % boundary
    if content_type:
        start += b"content-type: %b\r\n" % content_type
    end = b"/%d\r\n\r\n" % size
    heads = [b"%bcontent-range: bytes %d-%d%b" % (start, first, first + count - 1, end) for first, count in parts]
    heads[0] = heads[0][2:]  # nothing stands before the first boundary, so no line ends there
    tail = b"\r\n--%b--\r\n" % boundary
    return Frames(heads, tail, sum(map(len, heads)) + sum([count for _, count in parts]) + len(tail))
