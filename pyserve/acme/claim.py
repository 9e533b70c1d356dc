"""Who works on a certificate: the text of a lock's file, and whether its owner is still there.

Pure. Machines that share a folder do not share a clock, so a lock says no time: its owner changes a number in it again
and again, and whoever sees it unchanged for long enough by a clock of its own takes the owner for dead. An owner on the
same machine is looked for by its pid, so that a server that was killed and started again need not wait.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BEAT_S = 5.0
"""The owner changes the number so often."""
STALE_S = 30.0
"""Unchanged for so long: the owner is gone."""
MAX_BYTES = 512
_LINE = re.compile(rb"pyserve lock 1 ([0-9a-f]{32}) ([!-~]{1,200}) ([0-9]{1,10}) ([0-9]{10})\n")


class Claim(NamedTuple):
    id: str
    """32 hexadecimal digits, of one process for one lock."""
    machine: str
    """Equal only where pids mean the same processes."""
    pid: int
    beat: int = 0


def encode(claim: Claim) -> bytes:
    """Return the text, which has the same length for each beat, so that it is changed by one small write."""
    return b"pyserve lock 1 %b %b %d %010d\n" % (
        claim.id.encode(),
        claim.machine.encode(),
        claim.pid,
        claim.beat % 10**10,
    )


def decode(data: bytes) -> Claim | None:
    """Return what a file says; None: it is no claim (being written, cut short, a stranger's)."""
    found = _LINE.fullmatch(data)
    if found is None:
        return None
    return Claim(found[1].decode(), found[2].decode(), int(found[3]), int(found[4]))


class Observed:
    """What one who waits has seen of a lock so far."""

    __slots__ = ("_data", "_since")

    def __init__(self) -> None:
        self._data: bytes | None = None
        self._since = 0.0

    def is_stale(self, data: bytes, now: float, machine: str, is_alive: bool) -> bool:
        """Is the lock's owner gone? ``data``: the file now. ``is_alive``: runs a process of that pid here?"""
        claim = decode(data)
        if claim is not None and claim.machine == machine and not is_alive:
            return True
        if data != self._data:
            self._data, self._since = data, now
            return False
        return now - self._since >= STALE_S
