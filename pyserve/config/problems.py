"""What is wrong with a configuration, collected until everything has been looked at.

Pure. A key path is a tuple of table names and list indexes (from 0, as in Python); written out for people, lists count
from 1: ``site.shop.route[2].files`` is the second route. Lines are looked up only when there is something to report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pyserve.errors import Problem

Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SHOWN_CHARACTERS = 60


class Document(NamedTuple):
    """One file of the configuration, or a tree given by a program (then ``text`` is empty and no line is known)."""

    file: str
    folder: str
    """Absolute; what relative paths in it are relative to."""
    tree: Mapping[str, Any]
    text: str = ""


class Place(NamedTuple):
    document: Document
    path: Path


class _Finding(NamedTuple):
    place: Place
    message: str
    surroundings: bool
    other: Place | None


def show_key(path: Path) -> str:
    """Return a key path as people write it: bare keys plain, others quoted, list items counted from 1."""
    parts: list[str] = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part + 1}]")
        else:
            shown = part if _BARE_KEY.fullmatch(part) else show(part)
            parts.append(f".{shown}" if parts else shown)
    return "".join(parts)


def show(text: str) -> str:
    """Return ``text`` quoted for a message, on one line and not long; a ``Secret`` shows where it came from instead."""
    if isinstance(text, Secret):
        return "the value of " + text.origin
    import json  # most configurations have no problem

    return json.dumps(
        text if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 1] + "…",
        ensure_ascii=not text.isprintable(),
    )


class Secret(str):
    """A string that came from ``{ file = … }`` or ``{ env = … }``: usable like any other, never shown."""

    __slots__ = ("origin",)
    origin: str

    def __repr__(self) -> str:
        return f"<the value of {self.origin}>"


def secret_like(original: str, text: str) -> str:
    """Return ``text``, which was made of ``original``, as secret as that was."""
    if not isinstance(original, Secret):
        return text
    secret = Secret(text)
    secret.origin = original.origin
    return secret


class Problems:
    """Collects; ``form`` is what is wrong with the file itself, ``surroundings`` what is missing outside it."""

    def __init__(self) -> None:
        self._findings: list[_Finding] = []

    def add(
        self,
        place: Place,
        message: str,
        *,
        other: Place | None = None,
        surroundings: bool = False,
    ) -> None:
        """``other``: a second place to name after the message, in brackets."""
        self._findings.append(_Finding(place, message, surroundings, other))

    def missing_sites(self) -> dict[str | int, str]:
        """Return, by site, the first message on what is missing in its surroundings."""
        found: dict[str | int, str] = {}
        for finding in self._findings:
            path = finding.place.path
            if finding.surroundings and path[0] == "site":
                found.setdefault(path[1], finding.message)
        return found

    def rendered(self) -> list[Problem]:
        """Return all, by file and line."""
        return _Renderer().render(self._findings)


class _Renderer:
    """Turns findings into problems with line numbers; scans each file's text at most once."""

    def __init__(self) -> None:
        self._lines: dict[int, dict[Path, int]] = {}

    def render(self, findings: list[_Finding]) -> list[Problem]:
        order: dict[str, int] = {}
        problems = []
        for finding in findings:
            document = finding.place.document
            order.setdefault(document.file, len(order))
            message = finding.message
            if finding.other is not None:
                message += f" ({self._where(finding.other)})"
            line = self._line(finding.place)
            problems.append(Problem(document.file, line, show_key(finding.place.path), message, finding.surroundings))
        # Equal lines keep the order in which they were found.
        return sorted(problems, key=lambda problem: (order[problem.file], problem.line))

    def _where(self, place: Place) -> str:
        line = self._line(place)
        file = f"{place.document.file}:{line}" if line else place.document.file
        return f"{show_key(place.path)}, {file}"

    def _line(self, place: Place) -> int:
        if not place.document.text:
            return 0
        lines = self._lines.get(id(place.document))
        if lines is None:
            from pyserve.config.locate import find_lines  # only a faulty file needs it

            lines = self._lines[id(place.document)] = find_lines(place.document.text)
        path = place.path
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 0)
