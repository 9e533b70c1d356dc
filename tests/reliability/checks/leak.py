"""Applications that leak under load for five minutes (quick: 20 s), held by ``max_memory``.

No worker ever takes more than the hard limit, none has to be killed for it, no request fails.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from tests.reliability.figures import Figure, at_least, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

SECONDS = 300.0
QUICK_SECONDS = 20.0
LEAK_BYTES = 400_000
SOFT_MIB, HARD_MIB = 120, 180
WORKERS = 2
APPS = ("wsgi", "asgi")
LOOK_S = 0.05


def limits(soft_mib: int, hard_mib: int) -> str:
    return f'max_memory = {{ soft = "{soft_mib}MiB", hard = "{hard_mib}MiB" }}'


def private_mib(pid: int) -> float:
    """Return resident less shared memory, 0.0 of a process that is gone."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            _, resident, shared = statm.read().split()[:3]
    except OSError:
        return 0.0
    return (int(resident) - int(shared)) * 4096 / 1024**2


@dataclass
class MemoryWatch:
    """``with MemoryWatch(stage, apps) as watch``: what the workers of some applications take, all the while."""

    stage: Stage
    apps: tuple[str, ...]
    worst_mib: float = 0.0
    """The most that one worker took."""
    most_mib: float = 0.0
    """The most that all took together."""
    pids: set[int] = field(default_factory=set)
    """All workers that there ever were."""

    def __enter__(self) -> MemoryWatch:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join(10)

    def _run(self) -> None:
        asked_at = 0.0
        pids: list[int] = []
        while not self._is_over.wait(LOOK_S):
            if time.monotonic() - asked_at > 0.25:
                asked_at = time.monotonic()
                try:
                    apps = self.stage.status()["apps"]
                except (OSError, ValueError):
                    continue
                pids = [worker["pid"] for app in self.apps for worker in apps[app]["workers"]]
                self.pids.update(pids)
            each = [private_mib(pid) for pid in pids]
            self.worst_mib = max(self.worst_mib, *each, 0.0)
            self.most_mib = max(self.most_mib, sum(each))


def recycled(stage: Stage, apps: tuple[str, ...]) -> dict[str, int]:
    """Return how many workers of some applications were replaced, by reason."""
    found: dict[str, int] = {}
    for app in apps:
        for reason, count in stage.status()["apps"][app].get("recycled", {}).items():
            found[reason] = found.get(reason, 0) + count
    return found


def run(settings: Settings) -> list[Figure]:
    lines_of_app = f'env = {{ LEAK_BYTES = "{LEAK_BYTES}" }}\n{limits(SOFT_MIB, HARD_MIB)}'
    seconds = settings.timeout_s(SECONDS, QUICK_SECONDS)
    with Stage(
        settings, "leak", wsgi=lines_of_app, asgi=lines_of_app, wsgi_workers=WORKERS, asgi_workers=WORKERS
    ) as stage:
        base = stage.base()
        lines = len(stage.error_lines())
        say(f"leak: {LEAK_BYTES:,} bytes with each request, {seconds:g} s")
        with MemoryWatch(stage, APPS) as watch, beside(stage) as summaries:
            time.sleep(seconds)
        killed = [line for line in stage.error_lines()[lines:] if " is killed: " in line or "killed by signal" in line]
        leaked_mib = summaries[0].total * 2 / 3 * LEAK_BYTES / 1024**2  # a third of it is files
        most_workers = len(APPS) * (2 * WORKERS)
        return [
            told("leaked in all", f"{leaked_mib:,.0f} MiB by {len(watch.pids)} workers"),
            at_least("workers, of which new ones took over", len(watch.pids), len(APPS) * WORKERS + 2),
            at_most("private memory of a worker, worst", watch.worst_mib, HARD_MIB, "MiB"),
            at_most("of all workers together", watch.most_mib, HARD_MIB * most_workers, "MiB"),
            none_of("workers that had to be killed", len(killed), len(watch.pids), killed[0][-100:] if killed else ""),
            told("replaced, by reason", str(recycled(stage, APPS))),
            *compare(base, summaries[0]),
        ]
