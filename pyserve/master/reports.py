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
_OUTERMOST = ('/threading.py", line ', '"<frozen importlib.', '/importlib/__init__.py", line ')
"""At the outer end of every thread, and of every import."""
MAX_REQUEST = 600
MOST_NAMED = 10
"""Requests of a worker that does not say where they stand."""


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
    """Seconds before the death and bytes of its own, oldest first."""
    peak_bytes: int = 0
    """The most that it had resident, with shared pages: it may have grown too fast for the samples. 0 = not known."""
    running: str = ""
    """A line for each request that it ran."""
    stack: str = ""
    was_booting: bool = False

    def words(self) -> str:
        """Return the record for the log: a line, and what there is besides, indented."""
        served = "" if self.was_booting else f", {self.requests:,} requests served"
        lines = [f"{self.how}, {self.age_s:,.1f} s old{served}"]
        memory = []
        if len(self.memory) > 1:
            grown = " → ".join(f"{count / (1 << 20):,.0f}" for _, count in _thinned(self.memory))
            memory.append(f"over {self.memory[0][0]:,.0f} s {grown} MiB of its own")
        elif self.memory:
            memory.append(f"{self.memory[0][1] / (1 << 20):,.0f} MiB of its own")
        if self.peak_bytes:
            memory.append(f"{self.peak_bytes / (1 << 20):,.0f} MiB resident at most")
        if memory:
            lines.append(f"  its memory: {'; '.join(memory)}")
        if self.running:
            lines += ["  it was running:", *(f"    {line}" for line in self.running.splitlines())]
        elif not self.was_booting:
            lines.append("  it was running nothing")
        if self.stack:
            first, *rest = self.stack.splitlines()
            lines += (
                [f"  its stack:\n    {first}", *(f"    {line}" for line in rest)] if rest else [f"  its stack: {first}"]
            )
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
            "memory_peak_bytes": self.peak_bytes,
            "running": self.running.splitlines(),
            "stack": self.stack,
        }


def application_part(stacks: str) -> str:
    """Return what ``faulthandler`` wrote without our own frames, and without threads that run nothing of the
    application's (the watcher, those that wait for a request)."""
    parts = []
    for part in stacks.split("\n\n"):
        kept = [line for line in part.splitlines() if line.strip("\0 ") and not _is_ours(line)]
        while kept and any(file in kept[-1] for file in _OUTERMOST):
            kept.pop()
        if kept and not (len(kept) == 1 and _is_header(kept[0])):
            parts.append("\n".join(kept))
    return "\n".join(parts)


def _is_ours(line: str) -> bool:
    return "/pyserve/worker/" in line or 'File "<string>"' in line


def _is_header(line: str) -> bool:
    """Is this what stands above the stack of a thread?"""
    return line.startswith(("Thread 0x", "Current thread 0x")) and line.endswith("(most recent call first):")


def mute_words(stack: str, is_stopped: bool, requests: Sequence[str]) -> str:
    """Return what is said of a worker that did not say where these requests of its stand."""
    having = f"; it has {', '.join(requests)}" if requests else ""
    if stack:
        return f"does not let go of the interpreter{having}; its threads:\n{stack}"
    if is_stopped:
        return f"is stopped by a signal: nobody can say where it is{having}"
    return f"does not say where it is: it is in the kernel, or has another use for the signal that asks it{having}"


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
