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
        self._until = folder / f"until-{number}"
        os.mkfifo(self._until)
        self.path = f"/wait?began={self._began}&until={self._until}"

    def began(self) -> list[int]:
        """Return the pids of the workers in which a request has begun, one for each request."""
        return [int(line) for line in self._began.read_text().split()] if self._began.exists() else []

    def wait_began(self, count: int = 1) -> list[int]:
        return wait_until(lambda: self.began() if len(self.began()) >= count else [], f"{count} requests began")

    def open(self) -> None:
        """Let go all that wait now: every reader sees the end of the FIFO when this writer leaves."""
        os.close(os.open(self._until, os.O_WRONLY))
