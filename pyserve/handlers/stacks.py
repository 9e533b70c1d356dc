"""Step 5 of the request path: asking a worker where one of its requests is just now.

I/O: none; the question goes out through the worker's channel, its watcher answers while the application computes. Who
is silent for ``WAIT_S`` is stopped, or in code that does not let go of the interpreter: only the system can look then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyserve.wire.frames import STACK, frame

if TYPE_CHECKING:
    from pyserve.handlers.worker import Timers, Worker

WAIT_S = 0.3
OnText = Callable[[str | None], None]
"""The stack as text, "" = the request does not run there (any more), None = no answer."""


class Stacks:
    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._asked: dict[tuple[int, int], list[OnText]] = {}

    def ask(self, worker: Worker, stream: int, on_text: OnText) -> None:
        """Call ``on_text`` once, soon."""
        key = (worker.number, stream)
        waiting = self._asked.get(key)
        if waiting is not None:
            waiting.append(on_text)
            return
        self._asked[key] = [on_text]
        worker.channel.send_control(frame(STACK, stream))
        self._timers.call_later(WAIT_S, lambda: self._end(key, None))

    def told(self, worker: Worker, stream: int, payload: bytes) -> None:
        """The worker has answered; one that was not asked (any more) says it to nobody."""
        self._end((worker.number, stream), payload.decode("utf-8", "replace"))

    def forget(self, worker: Worker) -> None:
        """The worker is dead."""
        for key in [key for key in self._asked if key[0] == worker.number]:
            self._end(key, None)

    def waits_for(self, worker: Worker) -> int:
        """Return how many answers of a worker are waited for."""
        return sum(key[0] == worker.number for key in self._asked)

    def _end(self, key: tuple[int, int], text: str | None) -> None:
        for on_text in self._asked.pop(key, ()):
            on_text(text)
