"""Step 4 of the request path: which of a site's routes takes a path.

Pure. First match wins in file order. Exact and prefix routes cost dictionary look-ups, however many there are: the
first match is the one with the lowest number among all that match, so it is enough to know the lowest literal one and
to ask only the regexes that stand before it. A regex is compiled when it is first asked (a thousand sites start faster
so); config has checked it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

NO_GROUPS: Mapping[str, str] = MappingProxyType({})
Found = tuple[int, str, Mapping[str, str]]
"""Number of the route, ``{rest}``, named groups."""


class RegexPath:
    """A ``~regex`` route: searched (not anchored) in the canonical path, as nginx does."""

    __slots__ = ("_compiled", "_pattern", "number")

    def __init__(self, number: int, pattern: str) -> None:
        self.number = number
        self._pattern = pattern
        self._compiled: re.Pattern[str] | None = None

    def find(self, path: str) -> tuple[str, Mapping[str, str]] | None:
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = re.compile(self._pattern)
        match = compiled.search(path)
        if match is None:
            return None
        rest = (match[1] or "").removeprefix("/") if compiled.groups else ""
        return rest, match.groupdict("") if compiled.groupindex else NO_GROUPS


class PathTable:
    """The routes of one site, by their paths as written: exact ``/x``, prefix ``/x/*`` (also ``/x``), ``~regex``."""

    __slots__ = ("_deepest", "_exact", "_first_prefix", "_none", "_prefixes", "_regexes")

    def __init__(self, paths: Sequence[str]) -> None:
        self._exact: dict[str, int] = {}
        self._prefixes: dict[str, int] = {}  # "/x" for "/x/*", "" for "/*"
        self._regexes: list[RegexPath] = []
        self._deepest = 0
        self._none = len(paths)
        self._first_prefix = self._none
        for number, path in enumerate(paths):
            if path.startswith("~"):
                self._regexes.append(RegexPath(number, path[1:]))
            elif path.endswith("/*"):
                prefix = path[:-2]
                self._prefixes.setdefault(prefix, number)
                self._first_prefix = min(self._first_prefix, number)
                self._deepest = max(self._deepest, prefix.count("/"))
            else:
                self._exact.setdefault(path, number)

    def find(self, path: str) -> Found | None:
        """Return the first route that takes ``path``, or None."""
        best = self._exact.get(path, self._none)
        rest = ""
        if self._first_prefix < best:
            end = 0
            # No deeper than the deepest prefix: a path of 30,000 slashes costs no more than others.
            for _ in range(self._deepest + 1):
                number = self._prefixes.get(path[:end], self._none)
                if number < best:
                    best, rest = number, path[end + 1 :]
                if end == len(path):
                    break
                end = path.find("/", end + 1)
                if end < 0:
                    end = len(path)
        for regex in self._regexes:
            if regex.number > best:
                break
            found = regex.find(path)
            if found is not None:
                return regex.number, found[0], found[1]
        return None if best == self._none else (best, rest, NO_GROUPS)
