"""The report on a dead worker: how it died, what it ran, how its memory grew, where it was.

Pure. One log record and one entry of ``status`` for each death that nobody asked for. Texts come from fronts and from
the dead worker itself: they are shown, never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

KEPT = 5
"""Reports of an application that ``status`` still shows."""
_SHOWN_SAMPLES = 8
MAX_TEXT = 8 * 1024


class Death(NamedTuple):
    worker: int
    pid: int
    how: str
    """In words: "killed by signal 9 (SIGKILL)"."""
    at_s: float
    """Wall clock."""
    age_s: float
    requests: int
    memory: tuple[tuple[float, int], ...] = ()
    """Seconds before the death and bytes, oldest first."""
    running: str = ""
    """A line for each request that it ran."""
    stack: str = ""

    def words(self) -> str:
        """Return the record for the log: a line, and what there is besides, indented."""
        lines = [f"{self.how}, {self.age_s:,.1f} s old, {self.requests:,} requests served"]
        if len(self.memory) > 1:
            grown = " → ".join(f"{count / (1 << 20):,.0f}" for _, count in _thinned(self.memory))
            lines.append(f"  its memory, over {self.memory[0][0]:,.0f} s: {grown} MiB")
        elif self.memory:
            lines.append(f"  its memory: {self.memory[0][1] / (1 << 20):,.0f} MiB")
        if self.running:
            lines += ["  it was running:", *(f"    {line}" for line in self.running.splitlines())]
        else:
            lines.append("  it was running nothing")
        if self.stack:
            lines += ["  its stack:", *(f"    {line}" for line in self.stack.rstrip().splitlines())]
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """Return the entry for ``status``."""
        return {
            "worker": self.worker,
            "pid": self.pid,
            "at_s": self.at_s,
            "how": self.how,
            "age_s": round(self.age_s, 3),
            "requests": self.requests,
            "memory": [[round(ago_s, 1), count] for ago_s, count in _thinned(self.memory)],
            "running": self.running.splitlines(),
            "stack": self.stack,
        }


def application_part(stacks: str) -> str:
    """Return what ``faulthandler`` wrote without our own frames and the watcher's thread."""
    threads = []
    for thread in stacks.split("\n\n"):
        lines = [line for line in thread.splitlines() if line.strip("\0 ")]
        if any("/worker/watcher.py" in line for line in lines[:2]):
            continue
        own = [line for line in lines if "/pyserve/worker/" not in line and 'File "<string>"' not in line]
        if own:
            threads.append("\n".join(own))
    return "\n".join(threads)


def _thinned(samples: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return a few of the samples, evenly, the first and the last among them."""
    if len(samples) <= _SHOWN_SAMPLES:
        return list(samples)
    step = (len(samples) - 1) / (_SHOWN_SAMPLES - 1)
    return [samples[round(index * step)] for index in range(_SHOWN_SAMPLES)]


class Inquest:
    """One death, until every front that knew the worker has said what it ran there."""

    def __init__(self, death: Death, fronts: set[int]) -> None:
        self.death = death
        self._waits_for = set(fronts)
        self._told: list[str] = []

    def told(self, front: int, running: str) -> bool:
        """A front has said it; return whether that was the last one."""
        if running:
            self._told.append(running[:MAX_TEXT])
        self._waits_for.discard(front)
        return not self._waits_for

    def close(self) -> Death:
        return self.death._replace(running="\n".join(self._told))
