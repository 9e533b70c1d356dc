"""The corpus of HTTP/2: frames in, events and frames out, from tests/corpus/h2/*.toml.

A ``[[case]]`` has a ``name``, which begins with the section of RFC 9113 (or 7541, or the row of the catalogue of
attacks) that it is about, and ``frames``, one a line:

    HEADERS 1 END_STREAM END_HEADERS | GET / | x-name: value      a block: GET and POST stand for all pseudo-fields
    DATA 1 END_STREAM = text                                      a payload as text
    PING 0 # 00 11, 00 x6                                         a payload as bytes, the last group six times
    RST_STREAM 1 CANCEL        WINDOW_UPDATE 0 65535        SETTINGS 0 INITIAL_WINDOW_SIZE=1
    ... * 200                                                     so many times; a stream "1+" goes on with 3, 5, …
    raw # ff ff                                                   bytes that are no frame
    ---                                                           answers come here, and a new turn begins

Before them go the preface and SETTINGS, if it is not ``bare``. ``answers``: how long the body of the 200 is that each
whole request gets at the end of its turn; -1 = none is answered, -2 = and nobody takes the bodies, which are not shown
if there is an answer to come. What it means:

- ``events``: what it tells: "request 1 GET /", "refused 1 400", "body 1 text", "end 1", "trailers 1 x: y",
  "room 1", "reset 1 CANCEL", "broken 1 PROTOCOL_ERROR", "goaway NO_ERROR", "failed PROTOCOL_ERROR". Equal lines
  in a row may be "… * 3".
- ``sent``: the frames that go out behind our first SETTINGS and the first acknowledgement, where that matters.
- ``each``: one case for each of these; the key follows the name, the value replaces ``{}``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpack

from pyserve.http.h2 import frames as f

FOLDER = Path(__file__).parents[1] / "corpus" / "h2"
KINDS = {
    name: getattr(f, name)
    for name in (
        "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
        "CONTINUATION", "PRIORITY_UPDATE",
    )
}  # fmt: skip
KIND_NAMES = {kind: name for name, kind in KINDS.items()}
FLAGS = {"END_STREAM": 1, "ACK": 1, "END_HEADERS": 4, "PADDED": 8, "HAS_PRIORITY": 32}
CODES = {name: code for code, name in enumerate(f.CODE_NAMES)}
OPENING = f.PREFACE + f.frame(f.SETTINGS, 0, 0) + f.ACKED_SETTINGS
_TIMES = re.compile(r" \* ([0-9]+)$")


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    turns: tuple[bytes, ...]
    events: tuple[str, ...]
    sent: tuple[str, ...] | None
    answers: int

    @property
    def data(self) -> bytes:
        return b"".join(self.turns)


def block(text: str, encoder: hpack.Encoder | None = None) -> bytes:
    """Return a block of fields "GET /path | name: value | …", coded without a dynamic table if there is no encoder."""
    fields: list[tuple[bytes, bytes]] = []
    for part in text.split(" | "):
        method, _, path = part.partition(" ")
        if method in ("GET", "POST", "HEAD"):
            fields += [(b":method", method.encode()), (b":scheme", b"https"), (b":path", path.encode("latin-1"))]
            fields.append((b":authority", b"a"))
        elif part:
            name, _, value = part[1:].partition(":")
            fields.append(((part[0] + name).encode("latin-1"), value.removeprefix(" ").encode("latin-1")))
    if encoder is not None:
        return bytes(encoder.encode(fields))
    return b"".join(b"\x10" + _text(name) + _text(value) for name, value in fields)


def _text(value: bytes) -> bytes:
    if len(value) < 0x7F:
        return bytes((len(value),)) + value
    rest = len(value) - 0x7F
    made = bytearray((0x7F,))
    while rest >= 0x80:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes(made) + bytes((rest,)) + value


def _frame(line: str, number: int) -> bytes:
    """Return the ``number``-th frame of a line."""
    start, mark, text = line.partition(" | ")
    payload = block(text) if mark else b""
    if not mark:
        start, mark, text = line.partition(" = ")
        payload = text.encode("latin-1")
    if not mark:
        start, mark, text = line.partition(" # ")
        payload = b"".join(
            bytes.fromhex(part) * int(times or 1) for part, times in re.findall(r"([0-9a-f ]+)(?:x([0-9]+))?", text)
        )
    kind, *words = start.split()
    if kind == "raw":
        return payload
    flags = stream = 0
    for at, word in enumerate(words):
        if word in FLAGS:
            flags |= FLAGS[word]
        elif word in CODES:
            payload += CODES[word].to_bytes(4, "big")
        elif "=" in word:
            name, _, value = word.partition("=")
            key = getattr(f, name) if hasattr(f, name) else int(name)
            payload += key.to_bytes(2, "big") + int(value).to_bytes(4, "big")
        elif at == 0:
            stream = int(word.rstrip("+")) + (2 * number if word.endswith("+") else 0)
        else:
            payload += int(word).to_bytes(4, "big")
    return f.frame(KINDS[kind] if kind in KINDS else int(kind), flags, stream, payload)


def turns(lines: list[str], *, bare: bool = False) -> tuple[bytes, ...]:
    made = [bytearray() if bare else bytearray(OPENING)]
    for line in lines:
        if line == "---":
            made.append(bytearray())
            continue
        match = _TIMES.search(line)
        for number in range(int(match[1]) if match else 1):
            made[-1] += _frame(line[: match.start()] if match else line, number)
    return tuple(bytes(turn) for turn in made)


def events(lines: list[str]) -> Iterator[str]:
    for line in lines:
        match = _TIMES.search(line)
        for number in range(int(match[1]) if match else 1):
            text = line[: match.start()] if match else line
            yield re.sub(r" ([0-9]+)\+", lambda found: f" {int(found[1]) + 2 * number}", text)  # noqa: B023


def sent_frames(data: bytes) -> Iterator[str]:
    """Read what a server sends, as lines."""
    at = 0
    while at < len(data):
        high, low, kind, flags, stream = f.unpack_header(data, at)
        payload = data[at + 9 : at + 9 + (high << 8 | low)]
        at += 9 + len(payload)
        line = f"{KIND_NAMES[kind]} {stream}"
        if kind in (f.HEADERS, f.DATA) and flags & f.END_STREAM:
            line += " END_STREAM"
        if kind in (f.SETTINGS, f.PING) and flags & f.ACK:
            line += " ACK"
        if kind == f.RST_STREAM:
            line += f" {f.code_name(int.from_bytes(payload, 'big'))}"
        elif kind == f.GOAWAY:
            line = f"GOAWAY {int.from_bytes(payload[:4], 'big')} {f.code_name(int.from_bytes(payload[4:8], 'big'))}"
        elif kind == f.WINDOW_UPDATE:
            line += f" {int.from_bytes(payload, 'big')}"
        elif kind == f.DATA:
            line += f" {len(payload)} bytes"
        elif kind == f.PING:
            line += f" {payload.hex()}"
        yield line


_KEYS = frozenset(("name", "frames", "bare", "answers", "events", "sent", "each"))


def _replace(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace("{}", text)
    return [_replace(item, text) for item in value] if isinstance(value, list) else value


def _cases(table: dict[str, Any]) -> Iterator[Case]:
    assert table.keys() <= _KEYS, f"unknown keys: {table.keys() - _KEYS}"
    each = table.get("each")
    for key, text in each.items() if each else [("", "{}")]:
        one = {name: _replace(value, text) for name, value in table.items() if name != "each"}
        yield Case(
            name=f"{table['name']} {key}".strip(),
            turns=turns(one["frames"], bare=one.get("bare", False)),
            events=tuple(events(one["events"])),
            sent=tuple(events(one["sent"])) if "sent" in one else None,
            answers=one.get("answers", -1),
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
