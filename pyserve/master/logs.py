"""The log files: opened by the master, written by everyone.

I/O: opens; writes nothing. Opened for appending, so that all processes may share one file; with the master's rights,
before fronts drop theirs.
"""

from __future__ import annotations

import os

from pyserve.config.model import AccessLog, ErrorLog
from pyserve.errors import CannotStart


def open_access_log(log: AccessLog | None) -> int:
    """Return a new descriptor for access lines: /dev/null when off, stdout for "-"; raise ``CannotStart``."""
    return _open("/dev/null") if log is None else _open_file(log.file, 1, "access")


def open_error_log(log: ErrorLog) -> int:
    """Return a new descriptor for error lines, stderr for "-"; raise ``CannotStart``."""
    return _open_file(log.file, 2, "error")


def _open_file(path: str, standard_fd: int, name: str) -> int:
    if path == "-":
        try:
            return os.dup(standard_fd)
        except OSError:
            return _open("/dev/null")  # started with it closed
    try:
        return _open(path)
    except OSError as error:
        why = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            why = f"no such folder: {os.path.dirname(path)}; make it first"
        raise CannotStart(f"cannot open the {name} log {path}: {why}") from None


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
