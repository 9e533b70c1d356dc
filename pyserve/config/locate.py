"""Find the line of every key of a TOML text, for messages: ``tomllib`` tells no positions.

Pure. Reads only texts that ``tomllib`` has accepted, so it follows the structure and checks nothing; on anything
unexpected it gives the lines found so far. It is run only when there is a problem to report, never on the way to a
start that succeeds.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^\s,\]}#=.\[{\"']+")
_SCALAR = re.compile(r"[^,\]}#\n]*")


def find_lines(text: str) -> dict[Path, int]:
    """Return the line (from 1) of each table, key and list item, by key path (list items counted from 0)."""
    scanner = _Scanner(text)
    try:
        scanner.scan()
    except (_Unexpected, RecursionError):
        pass
    return scanner.lines


class _Unexpected(Exception):
    pass


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._list_lengths: dict[Path, int] = {}
        self.lines: dict[Path, int] = {}

    def scan(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        start = self._at
        is_list = self._text.startswith("[[", self._at)
        self._at += 2 if is_list else 1
        parts = self._key()
        self._expect("]]" if is_list else "]")
        path: Path = ()
        for part in parts[:-1]:
            path = self._enter((*path, part), start)
        path = (*path, parts[-1])
        self._note(path, start)
        if is_list:
            count = self._list_lengths.get(path, 0)
            self._list_lengths[path] = count + 1
            path = (*path, count)
            self._note(path, start)
        return path

    def _enter(self, path: Path, start: int) -> Path:
        """A header that names a list of tables means the last one of the list."""
        self._note(path, start)
        count = self._list_lengths.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path, start)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        character = self._text[self._at : self._at + 1]
        if character in ("'", '"'):
            self._take(_STRING)
        elif character == "[":
            self._list(path)
        elif character == "{":
            self._inline_table(path)
        else:
            self._take(_SCALAR)

    def _list(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text.startswith("]", self._at):
                self._at += 1
                return
            self._note((*path, index), self._at)
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1
            elif not self._text.startswith("]", self._at):
                raise _Unexpected

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text.startswith("}", self._at):
                self._at += 1
                return
            self._pair(path)
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1
            elif not self._text.startswith("}", self._at):
                raise _Unexpected

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at : self._at + 1] in ("'", '"'):
                quoted = self._take(_STRING)
                # The escapes of a quoted key are those of a string: let tomllib read it.
                try:
                    parts.append(str(tomllib.loads(f"key = {quoted}")["key"]))
                except tomllib.TOMLDecodeError:
                    raise _Unexpected from None
            else:
                parts.append(self._take(_BARE))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _note(self, path: Path, start: int) -> None:
        if path not in self.lines:
            self.lines[path] = bisect_left(self._line_ends, start) + 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _Unexpected
        self._at = match.end()
        return match[0]

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            raise _Unexpected
        self._at += len(text)
