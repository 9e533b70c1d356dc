"""The files whose change means new code: found and compared by looking at all of them again and again.

I/O: ``os.scandir``. Looking costs 5 µs for each entry, so a project of a thousand files is looked at in 5 ms; what does
not belong to it (environments, packages of the browser, hidden folders) is never entered. The kernel's own notices are
not used: they need a watch for each folder, say nothing on network disks and in many containers, and would save at
most a tenth of a second of the half that a change takes.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase

DEFAULT_PATTERNS = ("*.py", "*.html", ".env")
"""Templates too: frameworks keep them compiled. A pattern with a slash is matched with the path below the root."""
MOST_ENTRIES = 50_000
_NOT_ENTERED = {"__pycache__", "node_modules", "site-packages"}
_ENVIRONMENT = "pyvenv.cfg"
"""A folder with this in it is a virtual environment, whatever its name."""

Signature = tuple[int, int, int]
"""Modification time in ns, size, inode: a file that an editor put in place by renaming is another one."""


class Sources:
    """The files below ``root`` that match. ``is_cut``: there are more entries than are looked at."""

    def __init__(self, root: str, patterns: Sequence[str]) -> None:
        self.root = root
        self.is_cut = False
        self._patterns = patterns
        self._names = [pattern for pattern in patterns if "/" not in pattern]
        self._paths = [pattern.lstrip("/") for pattern in patterns if "/" in pattern]

    def look(self) -> dict[str, Signature]:
        """Return every file by its path below the root. What can't be read is not there."""
        found: dict[str, Signature] = {}
        folders = deque([""])
        left = MOST_ENTRIES
        while folders:
            folder = folders.popleft()
            try:
                with os.scandir(os.path.join(self.root, folder)) as listing:
                    entries = list(listing)
            except OSError:
                continue
            if folder and any(entry.name == _ENVIRONMENT for entry in entries):
                continue
            left -= len(entries)
            if left < 0:
                self.is_cut = True
                break
            for entry in entries:
                name = entry.name
                path = f"{folder}{name}"
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        if name[0] != "." and name not in _NOT_ENTERED:
                            folders.append(f"{path}/")
                    elif self._is_meant(name, path):
                        stat = os.stat(entry.path)  # of what a link points to
                        found[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return found

    def _is_meant(self, name: str, path: str) -> bool:
        if name[0] == "." and name not in self._names:
            return False  # what editors lay beside the file that they write
        return any(fnmatchcase(name, pattern) for pattern in self._names) or any(
            fnmatchcase(path, pattern) for pattern in self._paths
        )


def changes(before: dict[str, Signature], after: dict[str, Signature]) -> list[str]:
    """Return the paths that are new, changed or gone, sorted."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def forget_bytecode(root: str, paths: Sequence[str]) -> None:
    """Remove what Python has kept of changed modules: it tells versions apart by seconds and size alone, so of two
    saves within a second it may run the first.
    """
    for path in paths:
        folder, name = os.path.split(os.path.join(root, path))
        stem, ending = os.path.splitext(name)
        if ending != ".py":
            continue
        cache = os.path.join(folder, "__pycache__")
        with contextlib.suppress(OSError):
            for kept in os.listdir(cache):
                if kept.startswith(f"{stem}.") and kept.endswith(".pyc"):
                    os.unlink(os.path.join(cache, kept))
