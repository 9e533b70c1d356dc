"""The error log: one line per event, written at once. Used by the master and by fronts.

I/O: one ``write`` per event to a descriptor that the master opened. A descriptor that can't be written never hurts a
request: the line is dropped and counted.
"""

from __future__ import annotations

import os
import re
import time

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Control characters but newline and tab: a terminal must not obey what a client sent.
# Line separators and marks that turn the direction of writing too.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return ``text`` with control characters and lone surrogates escaped as \\xHH or \\uHHHH."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


class ErrorLog:
    """``process`` names the writer, as "master" or "front 0"."""

    def __init__(self, fd: int, level: str, process: str) -> None:
        self._fd = fd
        self._threshold = LEVELS[level]
        self._process = process
        self._seldom: dict[object, tuple[float, int]] = {}
        self.dropped = 0

    def reopen(self, fd: int) -> None:
        """Write to another descriptor from now on (log rotation).

        The old one is closed unless it is a standard one.
        """
        old, self._fd = self._fd, fd
        if old > 2:
            os.close(old)

    def debug(self, text: str) -> None:
        self._write(10, "debug", text)

    def info(self, text: str) -> None:
        self._write(20, "info", text)

    def warning(self, text: str) -> None:
        self._write(30, "warning", text)

    def error(self, text: str) -> None:
        self._write(40, "error", text)

    def seldom(self, level: str, kind: object, text: str) -> bool:
        """Write what may come in storms: a line a second for each ``kind``; the next one says how many there were.

        Kinds are few and ours, never a client's choice. Returns whether this one was written.
        """
        if LEVELS[level] < self._threshold:
            return False
        now = time.monotonic()
        said, silent = self._seldom.get(kind, (-1.0, 0))
        if now - said < 1.0 and said >= 0:
            self._seldom[kind] = (said, silent + 1)
            return False
        self._seldom[kind] = (now, 0)
        more = f" (and {silent} more like it since the last such line)" if silent else ""
        self._write(LEVELS[level], level, text + more)
        return True

    def _write(self, rank: int, level: str, text: str) -> None:
        if rank < self._threshold:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        # Continuation lines (tracebacks) are indented, so that a line that begins in column 1 is always ours.
        body = printable(text.rstrip("\n")).replace("\n", "\n    ")
        line = f"{stamp}.{int(now % 1 * 1000):03d}Z {level} [{self._process}] {body}\n"
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            self.dropped += 1
