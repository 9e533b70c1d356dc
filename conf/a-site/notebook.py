"""The notes of the visitors: in memory, bounded, safe to use from several threads."""

from __future__ import annotations

import threading
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

MAX_NOTES = 100
MAX_NAME_CHARACTERS = 60
MAX_TEXT_CHARACTERS = 1000


class Note(NamedTuple):
    name: str
    text: str
    written: datetime


class Notebook:
    """The last ``MAX_NOTES`` notes; older ones are forgotten, all of them when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: deque[Note] = deque(maxlen=MAX_NOTES)

    def __len__(self) -> int:
        return len(self._notes)

    def add(self, name: str, text: str) -> None:
        name = " ".join(name.split())[:MAX_NAME_CHARACTERS] or "Somebody"
        note = Note(name, text[:MAX_TEXT_CHARACTERS], datetime.now(UTC))
        with self._lock:
            self._notes.append(note)

    def latest(self) -> list[Note]:
        """Return all notes, the newest first."""
        with self._lock:
            return list(reversed(self._notes))
