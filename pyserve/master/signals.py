"""Signals as bytes: a handler does nothing, the interpreter writes the signal's number to a pipe that the loop reads.

I/O: process-wide signal handlers until ``close``. Must be made in the main thread.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Only there so that the signal is caught; ``set_wakeup_fd`` writes the byte."""


class Signals:
    def __init__(self) -> None:
        # A pipe holds 64 Ki unread signals; a socket, which accounts for each write by itself, only 278.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._old_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old: dict[signal.Signals, Any] = {number: signal.signal(number, _ignore) for number in HANDLED}

    def fileno(self) -> int:
        return self._reader

    def take(self) -> list[int]:
        """Return the numbers of the signals that came, each once, in order of arrival."""
        try:
            return list(dict.fromkeys(os.read(self._reader, 65536)))
        except (BlockingIOError, InterruptedError):
            return []

    def close(self, *, process_ends: bool = False) -> None:
        """Put the old handlers back. In a process that ends: ignore what still comes, so that the exit code stays."""
        signal.set_wakeup_fd(self._old_fd)
        for number, old in self._old.items():
            if process_ends and number != signal.SIGCHLD:
                old = signal.SIG_IGN
            signal.signal(number, old if old is not None else signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)
