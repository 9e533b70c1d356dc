"""Read one table of site.toml key by key, reporting what is wrong and going on.

Pure. A method returns the value, or its default where the key is absent or wrong (then the problem is in the list):
decoding never stops at the first problem. Strings may be references, ``{ file = … }`` or ``{ env = … }``; a ``Scope``
knows how to follow them and what it means if one leads nowhere.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pyserve.config.problems import Document, Path, Place, Problems, Secret, show
from pyserve.config.units import parse_duration_s, parse_size_bytes

Resolver = Callable[[str, str], str]
"""("file", absolute path) or ("env", name) to the value. Raises ``LookupError`` with the reason."""


class Scope:
    """What the keys of one ``[server]``, ``[log]``, ``[app.X]`` or ``[site.X]`` share.

    ``base``: the folder that relative paths are relative to. ``fault``: the first reference that led nowhere, or "".
    With ``needs_references`` such a reference is a problem of the form: nothing could be started without it.
    """

    __slots__ = ("base", "document", "fault", "needs_references", "problems", "resolve")

    def __init__(
        self, document: Document, problems: Problems, resolve: Resolver, *, needs_references: bool = False
    ) -> None:
        self.document = document
        self.problems = problems
        self.resolve = resolve
        self.base = document.folder
        self.fault = ""
        self.needs_references = needs_references

    def absolute(self, path: str) -> str:
        """Join without following links: a virtual environment's ``bin/python`` is one, and must stay one."""
        return posixpath.normpath(posixpath.join(self.base, str(path)))


class Table:
    """One table. ``known``: the keys that are right here; ``later``: those that the contract has for a later issue."""

    __slots__ = ("path", "scope", "values")

    def __init__(
        self,
        values: Mapping[str, Any],
        path: Path,
        scope: Scope,
        known: Collection[str],
        later: Collection[str] = (),
    ) -> None:
        self.values = values
        self.path = path
        self.scope = scope
        for key in values:
            if key not in known:
                report_unknown_key(scope, path, key, known, later)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def place(self, *keys: str | int) -> Place:
        return Place(self.scope.document, (*self.path, *keys))

    def problem(self, message: str, *keys: str | int, other: Place | None = None) -> None:
        self.scope.problems.add(self.place(*keys), message, other=other)

    # -- single values

    def text(self, key: str, default: str = "") -> str:
        """A string, not empty."""
        if key not in self.values:
            return default
        return self._text(self.values[key], (key,), "a string") or default

    def text_at(self, value: object, keys: Path, expected: str) -> str:
        """A value of a list, or one that may be several types: a string that is not empty, else ""."""
        return self._text(value, keys, expected) or ""

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.values.get(key, default)
        if type(value) is not int:
            self.wrong_type(value, f"an integer from {low} to {high}", key)
            return default
        if not low <= value <= high:
            self.problem(f"expected an integer from {low} to {high}, not {_show_integer(value)}", key)
            return default
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key, default)
        if type(value) is not bool:
            self.wrong_type(value, "true or false", key)
            return default
        return value

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        value = self.text(key, default)
        if value != default and value not in choices:
            self.problem(f"expected {_listed(choices)}, not {show(value)}", key)
            return default
        return str(value)

    def duration_s(self, key: str, default: float, *, may_be_zero: bool = False) -> float:
        """``may_be_zero``: a time of nothing makes sense for this key."""
        if key not in self.values:
            return default
        text = self._text(self.values[key], (key,), 'a duration with its unit in quotes, as "30s"')
        if text is None:
            return default
        try:
            seconds = parse_duration_s(text)
        except ValueError as error:
            self.problem(f"{error}, not {show(text)}", key)
            return default
        if seconds == 0 and not may_be_zero:
            self.problem("expected a duration of more than nothing", key)
            return default
        return seconds

    def size_bytes(self, key: str, default: int, low: int = 0) -> int:
        if key not in self.values:
            return default
        text = self._text(self.values[key], (key,), 'a size with its unit in quotes, as "32KiB"')
        if text is None:
            return default
        try:
            count = parse_size_bytes(text)
        except ValueError as error:
            self.problem(f"{error}, not {show(text)}", key)
            return default
        if count < low:
            self.problem(f"expected at least {low} bytes, not {show(text)}", key)
            return default
        return count

    def file_path(self, key: str) -> str:
        """An absolute path, or "" where the key is absent or wrong."""
        text = self.text(key)
        if "\0" in text:
            self.problem("expected a path without a NUL character", key)
            return ""
        return self.scope.absolute(text) if text else ""

    # -- several values

    def texts(self, key: str, example: str) -> list[tuple[int, str]] | None:
        """A list of strings with their indexes, wrong ones left out; None where the key is absent or no list."""
        if key not in self.values:
            return None
        values = self.values[key]
        if not isinstance(values, (list, tuple)):
            self.wrong_type(values, f"a list of strings, as {example}", key)
            return None
        found = []
        for index, value in enumerate(values):
            text = self._text(value, (key, index), "a string")
            if text:
                found.append((index, text))
        return found

    def table(self, key: str, known: Collection[str], later: Collection[str] = ()) -> Table | None:
        """A table inside this one; None where the key is absent or no table."""
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, Mapping):
            self.wrong_type(value, "a table with " + _listed(sorted(known), "or"), key)
            return None
        return Table(value, (*self.path, key), self.scope, known, later)

    # -- strings and references

    def wrong_type(self, value: object, expected: str, *keys: str | int) -> None:
        self.problem(f"expected {expected}, not {kind_of(value)}", *keys)

    def _text(self, value: object, keys: Path, expected: str) -> str | None:
        """The string, or what a reference leads to; None (and a problem) if it is none, is empty or leads nowhere."""
        if isinstance(value, str):
            if value:
                return value
            self.problem(f"expected {expected}, not an empty one", *keys)
            return None
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, name),) = value.items()
            if kind in ("file", "env") and isinstance(name, str) and name and "\0" not in name:
                return self._follow(kind, name, keys)
        self.wrong_type(value, expected, *keys)
        return None

    def reference_or_text(self, value: object, keys: Path) -> str | None:
        """For values with free names (``env``): as ``text``, but the empty string is as good as any other."""
        return "" if value == "" else self._text(value, keys, 'a string, { file = "…" } or { env = "…" }')

    def _follow(self, kind: str, name: str, keys: Path) -> str | None:
        target = self.scope.absolute(name) if kind == "file" else name
        try:
            value = Secret(self.scope.resolve(kind, target))
        except LookupError as error:
            message = str(error.args[0]) if error.args else "not found"
            place = self.place(*keys)
            self.scope.problems.add(place, message, surroundings=not self.scope.needs_references)
            self.scope.fault = self.scope.fault or message
            return None
        value.origin = f'{{ {kind} = "{name}" }}'
        if not value:
            self.problem(f"{value.origin} is empty", *keys)
            return None
        return value


def report_unknown_key(scope: Scope, path: Path, key: object, known: Collection[str], later: Collection[str]) -> None:
    """Say "not yet", or name the nearest key that would be right."""
    if not isinstance(key, str):
        scope.problems.add(Place(scope.document, path), f"expected keys that are strings, not {kind_of(key)}")
        return
    place = Place(scope.document, (*path, key))
    if key in later:
        scope.problems.add(place, "not yet: this version of pyserve does not have it")
        return
    near: list[str] = []
    if len(key) <= 40:
        from difflib import get_close_matches  # 3 ms that a right file does not pay

        near = get_close_matches(key.lower(), [*known, *later], n=1, cutoff=0.6)
    hint = f"did you mean {show(near[0])}?" if near else f"expected {_listed(sorted(known), 'or')}"
    scope.problems.add(place, f"unknown key; {hint}")


def kind_of(value: object) -> str:
    """Name the type of a value in TOML's words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"the integer {_show_integer(value)}"
    for kind, name in ((str, "a string"), (float, "a float"), (Mapping, "a table"), ((list, tuple), "a list")):
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"


def _show_integer(value: int) -> str:
    # str() of an integer of more than 4300 digits raises.
    return str(value) if abs(value) < 10**20 else "a very large one"


def _listed(words: Sequence[str], last: str = "or") -> str:
    shown = [show(word) for word in words]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"
