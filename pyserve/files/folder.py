"""Step 4 of the request path, handler ``files``: what stands in a folder, for a listing of it.

I/O: the file system, and it may block: it runs in a helper thread, and knows neither loop nor exchange. The invariant:
nothing is named that the handler would not serve (hidden names, what is neither file nor folder, links of which nobody
says that they may be followed), whatever is being renamed meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from pyserve.files.listing import Item

_NS = 1_000_000_000


def scan(
    fd: int, *, most: int, shows_hidden: bool, is_allowed: Callable[[bytes], bool] | None
) -> tuple[list[Item], bool]:
    """Return what stands in the folder ``fd``, in no order, and whether there is more than ``most``.

    ``fd`` was opened for reading (no ``O_PATH``), is at its beginning, and is scanned by one thread at a time: its
    position is shared. It stays open; the caller closes. Hidden is a name that begins with a dot, ``.well-known`` too.
    A link is shown as what it leads to if ``is_allowed`` says of its name that it may be followed; None: no link is.

    Raises ``OSError`` if the folder itself can't be read; an entry that vanishes or can't be looked at is left out.
    """
    items: list[Item] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)  # the raw bytes again, whatever the locale made of them
            if name.startswith(b".") and not shows_hidden:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    if is_allowed is None or not is_allowed(name):
                        continue
                    # LIMIT: a link that is changed just now shows size and time of where it leads now; no content.
                    status = os.stat(name, dir_fd=fd)
            except OSError:
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if not is_folder and not stat.S_ISREG(status.st_mode):
                continue
            if len(items) == most:
                return items, True
            items.append(Item(name, is_folder, 0 if is_folder else status.st_size, status.st_mtime_ns // _NS))
    return items, False
