"""The error tree: whose fault it is decides the class, the class knows the status and the connection's fate.

Pure. Nothing here is ever shown to a client but the status and its standard phrase.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Fate(enum.Enum):
    """What becomes of the connection after an error was answered."""

    KEEP = "keep"
    CLOSE_AFTER_RESPONSE = "close after response"


class PyserveError(Exception):
    """Root of the tree."""


class Problem(NamedTuple):
    """One thing wrong with the configuration.

    ``line`` counts from 1; 0 where no line is known. ``key`` is the full path, as ``site.shop.route[2].files``.
    ``surroundings``: the file is well formed but something outside it is missing (a folder, an interpreter).
    """

    file: str
    line: int
    key: str
    message: str
    surroundings: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(PyserveError):
    """The operator's fault: every problem of the configuration at once. Exit code 78 (EX_CONFIG)."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class CannotStart(PyserveError):
    """The surroundings' fault: port busy, no permission, a second server. Exit code 70."""


class NoServer(PyserveError):
    """A command found no running server to talk to. Exit code 69."""


class RequestError(PyserveError):
    """The client's fault: the request is answered with ``status`` and never reaches a handler.

    ``close_after`` is the usual fate, because after bytes that could not be understood nothing that follows on the
    connection can be trusted to be a request (RFC 9112 §9.6).
    """

    def __init__(self, status: int, reason: str, fate: Fate = Fate.CLOSE_AFTER_RESPONSE) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.fate = fate


class ApplicationError(PyserveError):
    """The application's fault: 500, the traceback goes to the log and never to the wire."""

    status = 500
    fate = Fate.KEEP


class MisuseError(PyserveError):
    """Our own fault: a bug. Never caught below ``main``."""
