"""Helper threads that are none: what is to be done is done at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pyserve.handlers.interface import Lanes

T = TypeVar("T")


class Inline:
    """``jobs`` counts them; with ``is_held`` they wait for ``go_on``."""

    def __init__(self) -> None:
        self.jobs = 0
        self.is_held = False
        self._held: list[Callable[[], None]] = []

    def run(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        self.jobs += 1
        if self.is_held:
            self._held.append(lambda: self._run(work, done))
        else:
            self._run(work, done)

    def _run(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        try:
            result = work()
        except Exception as error:
            done(None, error)
        else:
            done(result, None)

    def go_on(self) -> None:
        held, self._held = self._held, []
        for job in held:
            job()

    def close(self) -> None:
        pass


def inline_lanes() -> Lanes:
    lane = Inline()
    return Lanes(lane, lane, lane)
