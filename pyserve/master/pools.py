"""All pools: which one a worker, a pid or a front's message belongs to.

I/O: none of its own. Invariant: worker numbers and board slots are shared out here and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from pyserve.master.fronts import Fronts
from pyserve.master.loop import Loop
from pyserve.master.pool import Pool
from pyserve.master.resources import Resources, slots_of
from pyserve.master.templates import TemplateCommand


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

    def start(self) -> None:
        for pool in self._pools:
            pool.start()

    def introduce_all(self, front: int) -> None:
        for pool in self._pools:
            pool.introduce_all(front)

    def front_said(self, front: int, kind: int, number: int) -> None:
        for pool in self._pools:
            worker = pool.workers.get(number)
            if worker is not None:
                pool.front_said(front, kind, worker)
                return
        # It is gone already; the front will hear of it.

    def front_ended(self, front: int) -> None:
        for pool in self._pools:
            pool.front_ended(front)

    def reaped(self, pid: int, status: int) -> bool:
        return any(pool.reaped(pid, status) for pool in self._pools)

    def close(self) -> None:
        for pool in self._pools:
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
            name, count = pool.app.name, pool.app.workers
            if pool.reason:
                words.append(f"app {name}: FAILED: {pool.reason}")
            else:
                words.append(f"app {name}: {count} worker{'s' if count != 1 else ''} {pool.interface}")
        return words

    def facts(self) -> list[dict[str, Any]]:
        return [pool.facts() for pool in self._pools]
