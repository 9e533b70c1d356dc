"""What the system tells of a process that the master started: memory and processor time.

I/O: reads ``/proc/PID``; 0 where there is none (or no such process). The pids are those of our own workers, which a
template told: a wrong one gives wrong figures, nothing else.
"""

from __future__ import annotations

import os

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


def is_stopped(pid: int) -> bool:
    """Is the process stopped by a signal (or a debugger)?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
