"""Hold a request in an application until the test lets it go, without a sleep: ``/wait`` of the trial applications."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from tests.support.waiting import wait_until

_NUMBERS = itertools.count()


class Gate:
    """``path``: the request target that waits here. Any number of requests may wait."""

    def __init__(self, folder: Path) -> None:
        number = next(_NUMBERS)
        self._began = folder / f"began-{number}"
        until = folder / f"until-{number}"
        os.mkfifo(until)
        # Open for both: no end of the FIFO ever blocks on the other, and bytes written early are found by late readers.
        self._fifo = os.open(until, os.O_RDWR)
        self.path = f"/wait?began={self._began}&until={until}"

    def __del__(self) -> None:
        os.close(self._fifo)

    def began(self) -> list[int]:
        """Return the pids of the workers in which a request has begun, one for each request."""
        return [int(line) for line in self._began.read_text().split()] if self._began.exists() else []

    def wait_began(self, count: int = 1) -> list[int]:
        return wait_until(lambda: self.began() if len(self.began()) >= count else [], f"{count} requests began")

    def open(self) -> None:
        """Let go all that wait, now or later: each takes one byte."""
        os.write(self._fifo, b"x" * 1000)
