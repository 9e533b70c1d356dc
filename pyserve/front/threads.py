"""Helper threads of a front: work that takes too long for its loop (compression), or may hang (a slow disk).

I/O: threads; the work itself is the caller's. Results come back on the loop, all that are there in one callback. How
much waits is bounded by the callers: each has one job under way for an exchange. Threads start at first need and are
daemons: a disk that hangs keeps no process from ending.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pyserve.handlers.interface import Lanes

if TYPE_CHECKING:
    from queue import SimpleQueue

T = TypeVar("T")
Work = Callable[[], Any]
Done = Callable[[Any, BaseException | None], None]


class Threads:
    """``run`` and ``close`` are for the loop's own thread."""

    __slots__ = ("_count", "_is_closed", "_is_told", "_jobs", "_loop", "_results", "_started", "_under_way")

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int = 4) -> None:
        self._loop = loop
        self._count = count
        self._started = 0
        self._under_way = 0
        self._is_closed = False
        self._is_told = False
        self._jobs: SimpleQueue[tuple[Work, Done] | None] | None = None
        self._results: deque[tuple[Done, Any, BaseException | None]] = deque()

    def run(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Call ``work`` in a thread, then ``done`` on the loop with its result or with what it raised.

        First come, first served. After ``close`` nothing is run, nor where the system has no thread for us: ``done``
        gets a ``RuntimeError``.
        """
        if self._is_closed:
            self._loop.call_soon(done, None, RuntimeError("the front has ended"))
            return
        jobs = self._jobs
        if jobs is None:
            from queue import SimpleQueue  # every start of a front would pay 0.5 ms for it

            jobs = self._jobs = SimpleQueue()
        if self._under_way >= self._started and self._started < self._count:
            try:
                threading.Thread(target=self._serve, args=(jobs,), name="pyserve helper", daemon=True).start()
                self._started += 1
            except RuntimeError as error:  # a limit on processes; those that run, if any do, see to all of it
                if not self._started:
                    self._loop.call_soon(done, None, error)
                    return
        self._under_way += 1
        jobs.put((work, done))

    def close(self) -> None:
        """Take no work more; what was given is still done, and told for as long as the loop runs."""
        self._is_closed = True
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            for _ in range(self._started):
                jobs.put(None)

    def _serve(self, jobs: SimpleQueue[tuple[Work, Done] | None]) -> None:
        """The life of a thread."""
        results = self._results
        while (job := jobs.get()) is not None:
            work, done = job
            try:
                results.append((done, work(), None))
            except BaseException as error:
                results.append((done, None, error))
            del job, work, done  # what they hold must not wait for the next job
            # SAFETY: appended before the flag is looked at, and the loop clears the flag before it looks for results,
            # so none is forgotten; two threads that both find it cleared make one callback too many.
            if not self._is_told:
                self._is_told = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:
                    return  # the loop is closed, nobody waits any more

    def _deliver(self) -> None:
        self._is_told = False
        results = self._results
        try:
            while results:
                done, result, error = results.popleft()
                self._under_way -= 1
                done(result, error)
        finally:
            if results:
                self._loop.call_soon(self._deliver)  # one of them raised: the loop says so, the others still come


MAX_CPU_THREADS = 4
NETWORK_THREADS = 16
"""Each share that hangs may hold some."""


def build_lanes(loop: asyncio.AbstractEventLoop) -> Lanes:
    """What computes must not wait behind a disk that hangs, nor a disk of this machine behind a network's."""
    cores = os.cpu_count() or 1
    return Lanes(Threads(loop), Threads(loop, NETWORK_THREADS), Threads(loop, min(MAX_CPU_THREADS, cores)))
