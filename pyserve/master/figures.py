"""What the system tells of a process that the master started: memory and processor time.

I/O: reads ``/proc/PID``; 0 where there is none (or no such process). The pids are those of our own workers, which a
template told: a wrong one gives wrong figures, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable

OOM_LOOK_S = 2.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def private_bytes(pid: int) -> int:
    """Return resident less shared memory. Pages that a fork shares with its template count as private here, so this is
    an upper bound; it costs 10 µs."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            _, resident, shared = statm.read().split()[:3]
        return (int(resident) - int(shared)) * _PAGE_BYTES
    except (OSError, ValueError):
        return 0


def exact_private_bytes(pid: int) -> int:
    """Return what would be free if the process ended, pages that it alone has; walks its page tables (about a
    millisecond per 100 MiB). Where the system does not tell: the upper bound."""
    return _rollup(pid, b"Private_") or private_bytes(pid)


def proportional_bytes(pid: int) -> int:
    """Return the process's share of memory: shared pages are divided among those that have them (PSS)."""
    return _rollup(pid, b"Pss:") or private_bytes(pid)


def _rollup(pid: int, prefix: bytes) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:
            return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith(prefix))
    except (OSError, ValueError, IndexError):
        return 0


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, in steps of 10 ms."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name, in brackets, may hold anything.
            fields = stat.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S
    except (OSError, ValueError, IndexError):
        return 0.0


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since it started, in whatever cgroup."""
    try:
        with open("/proc/vmstat", "rb") as vmstat:
            return next((int(line.split()[1]) for line in vmstat if line.startswith(b"oom_kill ")), 0)
    except (OSError, ValueError):
        return 0


class OomKills:
    """Has the kernel just killed something for want of memory? It does not say whom, so a death by SIGKILL is explained
    by a kill of the last seconds, and each kill explains one. ``look`` has to be called all the time."""

    def __init__(self, count: Callable[[], int] = oom_kills) -> None:
        self._count = count
        self._explained = self._latest = count()
        self._looked_at = 0.0

    def look(self, now: float) -> None:
        if now - self._looked_at >= OOM_LOOK_S:
            self._looked_at = now
            # Not the present number: a worker may be dead that was not waited for yet.
            self._explained = max(self._explained, self._latest)
            self._latest = self._count()

    def explain(self) -> bool:
        """Take one kill for the cause of a death; False = there is none."""
        if self._count() <= self._explained:
            return False
        self._explained += 1
        return True


def catches(pid: int, number: int) -> bool:
    """Does the process have a handler for a signal?"""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            caught = next((line.split()[1] for line in status if line.startswith(b"SigCgt:")), b"0")
        return bool(int(caught, 16) >> (number - 1) & 1)
    except (OSError, ValueError, IndexError):
        return False


def is_stopped(pid: int) -> bool:
    """Is the process stopped by a signal (or a debugger)?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
