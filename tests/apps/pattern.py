"""Bytes that can be made and checked piece by piece, so that no test has to hold a large body in memory."""

import hashlib
from collections.abc import Iterator

BLOCK_BYTES = 64 * 1024


def block(number: int) -> bytes:
    """Return block ``number`` of the endless pattern; no two are alike."""
    return hashlib.sha256(str(number).encode()).digest() * (BLOCK_BYTES // 32)


def blocks(size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes of the pattern."""
    number = 0
    while size > 0:
        data = block(number)[:size]
        yield data
        size -= len(data)
        number += 1


def digest(size: int) -> str:
    """Return the SHA-256 of the first ``size`` bytes."""
    total = hashlib.sha256()
    for data in blocks(size):
        total.update(data)
    return total.hexdigest()
