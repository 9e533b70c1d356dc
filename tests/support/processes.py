"""What /proc tells about the processes of a server under test. Linux only; tests that need it are not run elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Process:
    """One process at one moment. ``started`` (ticks since boot) tells a process from a later one with its number."""

    pid: int
    parent: int
    state: str
    started: int
    title: str

    @property
    def is_zombie(self) -> bool:
        return self.state == "Z"

    @property
    def is_alive(self) -> bool:
        now = read(self.pid)
        return now is not None and now.started == self.started and not now.is_zombie


def adopt_orphans() -> None:
    """Make this process the parent of whatever outlives its parent, so that a leaked process can't hide."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def read(pid: int) -> Process | None:
    """Return a process, or None if there is none with this number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    # The second field is the name in parentheses and may contain anything, also parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    return Process(pid, int(fields[1]), fields[0], int(fields[19]), title)


def all_processes() -> list[Process]:
    found = [read(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    return [process for process in found if process is not None]


def descendants(pid: int) -> list[Process]:
    """Return the children of a process, their children, and so on; not the process itself."""
    children: dict[int, list[Process]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process)
    result: list[Process] = []
    waiting = [pid]
    while waiting:
        own = children.get(waiting.pop(), [])
        result += own
        waiting += [process.pid for process in own]
    return result


def reap(pids: list[int]) -> None:
    """Wait for adopted orphans that have ended; the test process is their parent now."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def descriptors(pid: int) -> Counter[str]:
    """Return what a process has open, counted by kind: ``socket``, ``pipe``, ``anon_inode:[eventpoll]``, a path …"""
    kinds: Counter[str] = Counter()
    folder = Path(f"/proc/{pid}/fd")
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:
            continue  # closed since the listing
        kinds[target.split(":[")[0] if target.startswith(("socket:", "pipe:")) else target] += 1
    return kinds


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that no other one shares and that is in no file: what it really costs."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no figure for the memory of process {pid}")
