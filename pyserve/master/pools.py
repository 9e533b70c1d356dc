"""All pools: which one a worker, a pid or a front's message belongs to, and the memory that they share.

I/O: none of its own. Invariant: worker numbers and board slots are shared out here and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from pyserve.master import figures
from pyserve.master.budget import Budget
from pyserve.master.fronts import Fronts
from pyserve.master.loop import Loop, Timer
from pyserve.master.pool import Pool
from pyserve.master.renewal import Outcome
from pyserve.master.resources import Resources, slots_of
from pyserve.master.templates import TemplateCommand
from pyserve.master.upkeep import LOOK_S, Upkeep
from pyserve.wire import messages
from pyserve.wire.frames import WireError


class Pools:
    def __init__(
        self,
        loop: Loop,
        resources: Resources,
        fronts: Fronts,
        command: TemplateCommand,
        on_change: Callable[[], None],
    ) -> None:
        numbers = itertools.count(1)
        self._pools: list[Pool] = []
        first = 0
        for index, app in enumerate(resources.config.apps):
            slots = range(first, first + slots_of(app))
            first = slots.stop
            self._pools.append(Pool(loop, resources, fronts, index, slots, command, lambda: next(numbers), on_change))

        self._loop = loop
        self._timer: Timer | None = None
        self._budget = Budget(resources.config.server.memory_bytes, figures.proportional_bytes, resources.log.warning)
        self._upkeeps = [Upkeep(loop, resources, pool, self._budget) for pool in self._pools]
        self._budget.members += self._upkeeps

    def start(self) -> None:
        for pool, upkeep in zip(self._pools, self._upkeeps, strict=True):
            pool.start()
            upkeep.start()
        if self._budget.limit_bytes:
            self._look()

    def _look(self) -> None:
        self._timer = self._loop.after(LOOK_S, self._look)
        self._budget.enforce()

    def scale(self, name: str, count: int) -> str:
        """An operator wants so many workers of an app; return why that can't be, "" = it is under way."""
        for upkeep in self._upkeeps:
            if upkeep.pool.app.name == name:
                return upkeep.scale(count)
        names = ", ".join(upkeep.pool.app.name for upkeep in self._upkeeps)
        return f"there is no app of that name; there are: {names or 'none'}"

    def renew(self, name: str, tell: Callable[[Outcome], None], *, at_once: bool) -> bool:
        """Have an app imported again; False = there is none of that name. ``tell``: called once, now or later."""
        for pool in self._pools:
            if pool.app.name == name:
                pool.renew(tell, at_once=at_once)
                return True
        return False

    def step(self, count: int) -> None:
        """One worker more or fewer for each app."""
        for upkeep in self._upkeeps:
            upkeep.step(count)

    def introduce_all(self, front: int) -> None:
        for pool in self._pools:
            pool.introduce_all(front)

    def front_said(self, front: int, kind: int, number: int) -> None:
        """``number``: of a worker, or the index of an app."""
        if kind == messages.APP_WANTED:
            if number >= len(self._upkeeps):
                raise WireError(f"app {number} is wanted")
            self._upkeeps[number].pressed()
            return
        for pool in self._pools:
            worker = pool.workers.get(number)
            if worker is not None:
                pool.front_said(front, kind, worker)
                return
        # It is gone already; the front will hear of it.

    def front_told(self, front: int, kind: int, number: int, text: str) -> None:
        """A front has buried a worker, and says what it ran there; or its worker does not say where a request is."""
        for pool in self._pools:
            if kind == messages.WORKER_LEFT:
                pool.inquests.told(front, number, text)
            elif (worker := pool.workers.get(number)) is not None:
                pool.look_at_stack(worker, text)

    def front_ended(self, front: int) -> None:
        for pool in self._pools:
            pool.front_ended(front)

    def reaped(self, pid: int, status: int) -> bool:
        return any(pool.reaped(pid, status) for pool in self._pools)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for pool, upkeep in zip(self._pools, self._upkeeps, strict=True):
            upkeep.close()
            pool.close()

    def kill(self) -> list[str]:
        return [words for pool in self._pools for words in pool.kill()]

    @property
    def are_gone(self) -> bool:
        return all(pool.is_gone for pool in self._pools)

    @property
    def are_settled(self) -> bool:
        return all(pool.is_settled for pool in self._pools)

    def words(self) -> list[str]:
        """Return what the ready line says of each app."""
        words = []
        for pool in self._pools:
            name, count = pool.app.name, pool.wanted
            if pool.reason:
                words.append(f"app {name}: FAILED: {pool.reason}")
            elif not count:
                words.append(f"app {name}: no worker until somebody asks")
            else:
                words.append(f"app {name}: {count} worker{'s' if count != 1 else ''} {pool.interface}")
        return words

    def facts(self) -> list[dict[str, Any]]:
        return [pool.facts() for pool in self._pools]
