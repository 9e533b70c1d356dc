"""CPU time and memory of process trees, from /proc (Linux only).

CPU = user + system time of every process of the tree, with that of children that have ended and were waited for
(``cutime``, ``cstime``): a sum that only grows while the roots live. Memory = PSS, in which a page that N
processes share counts 1/N in each, so the sum over a tree is what the tree takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Process(NamedTuple):
    parent: int
    cpu_ticks: int
    """Own and waited-for children's user and system time."""
    user_ticks: int = 0
    """The part of it that was spent in user mode."""


class CpuTime(NamedTuple):
    user_s: float
    system_s: float


def read_processes() -> dict[int, Process]:
    """Return all processes by pid; those that end meanwhile are left out."""
    processes = {}
    for name in os.listdir(PROC):
        if name.isdigit():
            try:
                stat = (PROC / name / "stat").read_bytes()
            except OSError:
                continue
            # proc_pid_stat(5): the name stands in parentheses and may contain anything; state is field 3.
            fields = stat[stat.rindex(b")") + 2 :].split()
            user, system, children_user, children_system = map(int, fields[11:15])
            user += children_user
            processes[int(name)] = Process(int(fields[1]), user + system + children_system, user)
    return processes


def tree_of(roots: Iterable[int], processes: dict[int, Process]) -> list[int]:
    """Return the roots that live and all their descendants."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    tree = [pid for pid in roots if pid in processes]
    for pid in tree:  # grows while it is walked
        tree.extend(children.get(pid, ()))
    return tree


def cpu_time(roots: Iterable[int]) -> CpuTime:
    """Return the CPU time of all trees so far. The sum is exact, how it is split is sampled by the kernel's tick."""
    processes = read_processes()
    tree = [processes[pid] for pid in tree_of(roots, processes)]
    user = sum(process.user_ticks for process in tree)
    return CpuTime(user / TICKS_PER_S, (sum(process.cpu_ticks for process in tree) - user) / TICKS_PER_S)


def pss_bytes(roots: Iterable[int]) -> int:
    """Return the memory of all trees."""
    return sum(pss_of(pid) for pid in tree_of(roots, read_processes()))


def pss_of(pid: int) -> int:
    """Return the memory of one process, 0 if it has ended meanwhile."""
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
