"""What became of one application's dead workers: collects what master and fronts know, then says it once.

I/O: the log, a timer. Fronts read what a worker wrote before it died and then say what it still ran there; one that
does not say it in time is not waited for.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from pyserve.master import child
from pyserve.master.child import Worker
from pyserve.master.figures import OomKills
from pyserve.master.loop import Loop
from pyserve.master.reports import KEPT, Death, Inquest, application_part
from pyserve.observe.error_log import ErrorLog

WAIT_S = 0.5
"""Fronts bury a dead worker within 0.1 s."""


class Inquests:
    """``name``: of the app."""

    def __init__(self, loop: Loop, log: ErrorLog, oom_kills: OomKills, name: str) -> None:
        self._loop = loop
        self._log = log
        self._name = name
        self._open: dict[int, Inquest] = {}
        self._deaths: deque[Death] = deque(maxlen=KEPT)
        self._oom_kills = oom_kills

    def open(self, worker: Worker, words: str, requests: int, fronts: set[int]) -> None:
        """``words``: how it ended, as far as its wait status tells. Called before the worker is forgotten."""
        death = self._examine(worker, words, requests)
        inquest = Inquest(death, fronts)
        self._open[worker.number] = inquest
        if fronts:
            self._loop.after(WAIT_S, lambda: self._close(worker.number, inquest))
        else:
            self._close(worker.number, inquest)

    def open_failed_start(self, worker: Worker, words: str) -> None:
        """A worker has died before it was ready. Is there a ``failure``, the log has it already; one that says itself
        why it could not start is no death."""
        if worker.failure:
            if worker.is_killed:
                self._deaths.append(self._examine(worker, f"killed: {worker.failure}", 0)._replace(was_booting=True))
            return
        death = self._examine(worker, words, 0)
        death = death._replace(how=f"{death.how} while it started", was_booting=True)
        last = self._deaths[-1] if self._deaths else None
        told = death
        if last is not None and death.stack and (last.how, last.stack) == (death.how, death.stack):
            told = death._replace(stack="the same as before")
        self._deaths.append(death)
        self._log.error(f"app {self._name}: worker {worker.number} (pid {worker.pid}) {told.words()}")

    def _examine(self, worker: Worker, words: str, requests: int) -> Death:
        now = self._loop.now()
        if "SIGKILL" in words and not worker.is_killed:
            words += " for want of memory" if self._oom_kills.explain() else ", not by pyserve"
        if worker.memory_bytes and (not worker.memory or worker.memory[-1][1] != worker.memory_bytes):
            worker.memory.append((now, worker.memory_bytes))
        return Death(
            worker.number,
            worker.pid,
            words,
            time.time(),
            now - worker.started_at,
            requests,
            tuple((now - at, count) for at, count in worker.memory),
            worker.peak_bytes,
            stack=application_part(child.stack_text(worker)) or worker.last_stack,
        )

    def told(self, front: int, number: int, running: str) -> None:
        inquest = self._open.get(number)
        if inquest is not None and inquest.told(front, running):
            self._close(number, inquest)

    def _close(self, number: int, inquest: Inquest) -> None:
        if self._open.get(number) is not inquest:
            return
        del self._open[number]
        death = inquest.close()
        self._deaths.append(death)
        self._log.warning(f"app {self._name}: worker {number} (pid {death.pid}) {death.words()}")

    def facts(self) -> list[dict[str, Any]]:
        """Return the last deaths, newest first."""
        return [death.facts() for death in reversed(self._deaths)]
