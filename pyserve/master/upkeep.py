"""Looks after one application's pool: how many workers it is to have, and who of them has to go.

I/O: reads the figures of workers (``figures``, the board) and a clock; what follows from them is decided by ``scaling``
and ``recycling``, who are pure, and done by the pool.
"""

from __future__ import annotations

import os
from math import ceil

from pyserve.master import figures, recycling
from pyserve.master.budget import Budget
from pyserve.master.child import Worker
from pyserve.master.loop import Loop, Timer
from pyserve.master.pool import Pool
from pyserve.master.resources import Resources, most_workers
from pyserve.master.scaling import FULL, Load, Scaler
from pyserve.wire.board import IN_FLIGHT, QUEUED, SERVED, SOCKETS

LOOK_S = 1.0
MEMORY_LOOK_S = 0.1
"""Where memory is limited: an application may take hundreds of megabytes a second."""
RESTING_LOOK_S = 5.0
"""Where nothing is to be decided; only for the memory that ``status`` shows."""
CURVE_S = 5.0
"""Between two samples that are kept of a worker's memory."""


class Upkeep:
    """``pool`` and its ``budget``; the pool is started and closed by others."""

    def __init__(self, loop: Loop, resources: Resources, pool: Pool, budget: Budget) -> None:
        self.pool = pool
        self._loop = loop
        self._resources = resources
        self._budget = budget
        app = pool.app
        self._scaler = Scaler(app.workers, app.scaling, loop.now())
        self._is_fixed = app.scaling is None
        self._limits = app.recycling
        has_memory_limit = bool(self._limits.soft_memory_bytes or self._limits.hard_memory_bytes)
        is_watched = not self._is_fixed or any(self._limits) or budget.limit_bytes
        self._every_s = MEMORY_LOOK_S if has_memory_limit else LOOK_S if is_watched else RESTING_LOOK_S
        self._looked_at = loop.now()
        self._served = 0
        self._processor_s = 0.0
        self._timer: Timer | None = None
        self._cores = os.cpu_count() or 1

    def start(self) -> None:
        if self.pool.app.workers:
            self._timer = self._loop.after(self._every_s, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def scale(self, count: int) -> str:
        """An operator wants so many workers; return why that can't be, "" = it is under way."""
        app, most = self.pool.app, most_workers(self.pool.app)
        if app.fault:
            return app.fault
        least = 1 if app.scaling is None else 0  # the fronts ask for workers only where their number follows the load
        if not least <= count <= most:
            return f"expected a number from {least} to {most}; more than that needs a greater workers in the file"
        self._is_fixed = True
        self._resources.log.info(f"app {app.name}: {count} workers, as asked; until the next start")
        self.pool.set_wanted(count)
        return ""

    def step(self, count: int) -> None:
        wanted = min(max(1, self.pool.wanted + count), most_workers(self.pool.app))
        if self.pool.app.workers and wanted != self.pool.wanted:
            self.scale(wanted)

    def pressed(self) -> None:
        """Requests of this application have waited for a worker."""
        pool = self.pool
        if self._is_fixed:
            if pool.wanted == 0 and pool.app.scaling is not None:
                pool.set_wanted(1)  # scaled to nothing by hand, which is no reason to refuse requests
            return
        present = len(pool.present)
        wanted = self._scaler.pressed(self._loop.now(), self._load(), max(present, pool.wanted))
        pool.set_wanted(self._allowed(wanted))
        pool.balance()

    def shrink(self) -> bool:
        """Give up a worker that is not needed now, for the sake of others; False = there is none."""
        if self._is_fixed or self.pool.wanted <= max(self._scaler.least, self._scaler.needed):
            return False
        self.pool.set_wanted(self.pool.wanted - 1)
        return True

    @property
    def memory_bytes(self) -> int:
        """Memory of the workers that stay."""
        return sum(worker.memory_bytes for worker in self.pool.present)

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self.pool.present if worker.pid]

    def _allowed(self, wanted: int) -> int:
        """Return how many of the wanted workers the budget of memory allows."""
        now = self.pool.wanted
        ready = [worker.memory_bytes for worker in self.pool.present if worker.memory_bytes]
        each = sum(ready) // len(ready) if ready else 0
        while wanted > max(now, self._scaler.least, 1) and not self._budget.allows(self, each * (wanted - now)):
            wanted -= 1
        return wanted

    def _load(self, served: int = 0, processors: float = 0.0) -> Load:
        board, app = self._resources.board, self.pool.app
        running = sum(board.slot_total(worker.slot, IN_FLIGHT) for worker in self.pool.workers.values())
        slots = app.concurrency if self.pool.interface == "asgi" else app.threads
        sockets = sum(board.slot_total(worker.slot, SOCKETS) for worker in self.pool.workers.values())
        if sockets:  # they have places of their own: as much of a worker as they take of those
            running += ceil(sockets * slots / (app.websockets * FULL))
        return Load(board.app_total(self.pool.index, QUEUED), running, slots, served, processors)

    # Time passes

    def _look(self) -> None:
        self._timer = self._loop.after(self._every_s, self._look)
        now = self._loop.now()
        self._resources.oom_kills.look(now)
        for worker in list(self.pool.workers.values()):
            if worker.pid and worker.state != "booting":
                self._look_at(worker, now)
        if now - self._looked_at >= LOOK_S and not self._is_fixed:
            self._scale(now)

    def _look_at(self, worker: Worker, now: float) -> None:
        limits = worker.limits
        memory = worker.memory_bytes = figures.private_bytes(worker.pid)
        if not worker.memory or now - worker.memory[-1][0] >= CURVE_S:
            worker.memory.append((now, memory))
        first = min(filter(None, (limits.soft_memory_bytes, limits.hard_memory_bytes)), default=0)
        if first and memory >= first:
            # Pages shared with the template count as its own in the quick figure.
            memory = worker.memory_bytes = figures.exact_private_bytes(worker.pid)
        if worker.killed_for or not any(limits):
            return
        served = self._resources.board.slot_total(worker.slot, SERVED)
        due = recycling.due(limits, served, now - worker.ready_at, memory)
        if due is None:
            return
        if due.is_fatal:
            worker.memory.append((now, memory))
            self.pool.kill_for(worker, due.kind, due.words)
        elif due.is_urgent or self._may_go():
            self.pool.retire(worker, due.kind, due.words, at_once=due.is_urgent and self.pool.can_replace)

    def _may_go(self) -> bool:
        """Are few enough on their way? Workers that start together reach their limits together, and boots cost."""
        going = sum(1 for worker in self.pool.workers.values() if worker.leaving and worker.state == "ready")
        return going < max(1, self.pool.wanted // 4)

    def _scale(self, now: float) -> None:
        workers = [worker for worker in self.pool.workers.values() if worker.pid]
        processor_s = 0.0
        for worker in workers:
            used_s = figures.processor_s(worker.pid)
            if worker.state == "ready":
                processor_s += max(0.0, used_s - worker.processor_s) if worker.processor_s else 0.0
            worker.processor_s = used_s
        board = self._resources.board
        served = sum(board.slot_total(worker.slot, SERVED) for worker in workers)
        load = self._load(max(0, served - self._served), processor_s / (now - self._looked_at))
        self._served, self._looked_at = served, now
        wanted = self._scaler.looked(now, load, self.pool.wanted, self._cores)
        self.pool.set_wanted(self._allowed(wanted) if wanted > self.pool.wanted else wanted)
