"""The corpus: requests as bytes and what must become of them, from tests/corpus/*.toml.

A ``[[case]]`` has a ``name``, which begins with the id of its row in the catalogue of attacks, and ``bytes`` (latin-1,
with TOML's escapes) or ``parts``, where ``{ repeat = …, times = … }`` stands for something long. Then what it means:

- ``requests``: the messages in it, as "METHOD path body"; path as decoded, body as latin-1.
- ``status``: behind those, refused with this status; the connection is closed and nothing more is read, ever.
- ``begun``: "METHOD path" of the message whose head is good and whose body is what is refused (or cut).
- ``truncated``: behind those, the bytes end in the middle. Half a message is no message.
- ``closes``: the last of ``requests`` ends the connection.
- ``shows``: "name: value" lines that an application has to see in the first request; ``hides``: names that it must not.
- ``each``: one case for each of these; the key follows the name, the value replaces ``{}`` everywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "corpus"
MAX_BODY_BYTES = 1024 * 1024
"""The limit that the cases about bodies are written for; everything else is pyserve's default."""


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    parts: Any
    requests: tuple[str, ...]
    status: int
    """0 = nothing in it is refused."""
    begun: str
    truncated: bool
    closes: bool
    shows: tuple[tuple[str, str], ...]
    hides: frozenset[str]

    @property
    def data(self) -> bytes:
        return _data(self)

    @property
    def is_good(self) -> bool:
        return not self.status and not self.truncated


@lru_cache(maxsize=16)  # the largest ones are made when they are needed
def _data(case: Case) -> bytes:
    return _text(case.parts).encode("latin-1")


def _text(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    if isinstance(parts, dict):
        return _text(parts["repeat"]) * int(parts["times"])
    return "".join(map(_text, parts))


def _replace(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace("{}", text)
    if isinstance(value, list):
        return [_replace(item, text) for item in value]
    return value


_KEYS = frozenset(
    ("name", "bytes", "parts", "requests", "status", "begun", "truncated", "closes", "shows", "hides", "each")
)


def _cases(table: dict[str, Any]) -> Iterator[Case]:
    assert table.keys() <= _KEYS, f"unknown keys: {table.keys() - _KEYS}"
    assert "requests" in table or "status" in table or "truncated" in table, f"{table['name']}: no meaning"
    each = table.get("each")
    for key, text in each.items() if each else [("", "{}")]:
        one = {name: _replace(value, text) for name, value in table.items() if name != "each"}
        yield Case(
            name=f"{table['name']} {key}".strip(),
            parts=one["bytes"] if "bytes" in one else one["parts"],
            requests=tuple(map(_text, one.get("requests", []))),
            status=one.get("status", 0),
            begun=one.get("begun", ""),
            truncated=one.get("truncated", False),
            closes=one.get("closes", False),
            shows=tuple((name, value) for name, _, value in (line.partition(": ") for line in one.get("shows", []))),
            hides=frozenset(one.get("hides", [])),
        )


def load() -> list[Case]:
    """Return every case of every file."""
    cases = [
        case
        for path in sorted(FOLDER.glob("*.toml"))
        for table in tomllib.loads(path.read_text("utf-8"))["case"]
        for case in _cases(table)
    ]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), f"twice: {sorted({name for name in names if names.count(name) > 1})}"
    return cases
