"""The applications' own ledger: which requests began, where, and which of them came to their end.

Written by ``apps/normal_wsgi.py`` and ``apps/normal_asgi.py`` with one system call a line, so it is true however a
process ends. Pure but for reading the file.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Begun(NamedTuple):
    pid: int
    number: int
    at_s: float
    """On the monotonic clock, which all processes share."""


class Calls:
    def __init__(self, path: Path) -> None:
        self.begun: list[Begun] = []
        self.ended: list[Begun] = []
        for line in path.read_text().splitlines() if path.exists() else ():
            sign, pid, number, at_s = line.split()
            (self.begun if sign == "+" else self.ended).append(Begun(int(pid), int(number), float(at_s)))
        self.times = Counter(call.number for call in self.begun)
        """How often each request has begun."""
        ended = Counter((call.pid, call.number) for call in self.ended)
        self.unended = [call for call in self.begun if not ended[call.pid, call.number]]
        """What had begun in a process and had not come to its end when that died."""
