"""Files to be served: what stands in them, and that they look as if deployed long ago."""

from __future__ import annotations

import os
from pathlib import Path

LONG_AGO_S = 1_700_000_000  # deployed files are old; a server may look twice at one that was just written


def write_old(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    make_old(path)


def make_old(path: Path) -> None:
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def small_content(number: int, size_bytes: int) -> bytes:
    """Return text that no other number has."""
    return (b"file %05d " % number * (size_bytes // 11 + 1))[:size_bytes]
