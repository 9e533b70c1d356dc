"""``preload = true``: load the application once, before the forks, if nothing that it leaves behind forbids a fork.

I/O: imports the application; looks at this process's threads, sockets and children. What a forked worker can't share
(threads do not live on in a child, sockets and children would be everybody's) is a reason to load after the fork
instead (D14).
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable
from typing import Any

from .loader import load


def open_sockets() -> set[int]:
    """Return the descriptors of this process that are sockets."""
    found = set()
    for name in os.listdir("/dev/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
        except OSError:
            pass  # the listing's own descriptor
    return found


def preload(spec: dict[str, Any], has_children: Callable[[], bool]) -> tuple[Any, str]:
    """Return what ``load`` did and why it can't be forked ("" = it can). Raises ``LoadError``."""
    before = open_sockets()
    loaded = load(spec)
    reasons = []
    others = _threads() - 1
    if others > 0:
        names = ", ".join(t.name for t in threading.enumerate() if t is not threading.main_thread())
        reasons.append(f"{others} thread{'s' if others > 1 else ''}" + (f" ({names})" if names else ""))
    sockets = len(open_sockets() - before)
    if sockets:
        reasons.append(f"{sockets} open socket{'s' if sockets > 1 else ''}")
    if has_children():
        reasons.append("child processes")
    return loaded, "importing the application left " + " and ".join(reasons) if reasons else ""


def _threads() -> int:
    try:
        return max(len(os.listdir("/proc/self/task")), threading.active_count())
    except OSError:
        return threading.active_count()


def end_children() -> None:
    """Kill what the import started: it belonged to an application that is thrown away."""
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                for pid in file.read().split():
                    os.kill(int(pid), signal.SIGKILL)
    except OSError:
        pass  # not to be seen here (macOS): they are waited for when they end
