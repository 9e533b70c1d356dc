"""Signals as bytes: a handler does nothing, the interpreter writes the signal's number to a socket that the loop reads.

I/O: process-wide signal handlers, put back by ``close``. Must be made in the main thread.
"""

from __future__ import annotations

import signal
import socket
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
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # Full means that 200 kB of signals are unread: the ones that count are among them.
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old: dict[signal.Signals, Any] = {number: signal.signal(number, _ignore) for number in HANDLED}

    def fileno(self) -> int:
        return self._reader.fileno()

    def take(self) -> list[int]:
        """Return the numbers of the signals that came, each once, in order of arrival."""
        try:
            return list(dict.fromkeys(self._reader.recv(4096)))
        except (BlockingIOError, InterruptedError):
            return []

    def close(self) -> None:
        signal.set_wakeup_fd(self._old_fd)
        for number, old in self._old.items():
            signal.signal(number, old if old is not None else signal.SIG_DFL)
        self._reader.close()
        self._writer.close()
