"""How many files a process may have open. I/O: getrlimit and setrlimit (RLIMIT_NOFILE)."""

from __future__ import annotations

import resource


def allow_open_files(count: int) -> None:
    """Raise the soft limit of open files if fewer than ``count`` are allowed; as far as the hard limit lets us.

    LIMIT: applications inherit it. Only where the pools need it, so that an application that ``select``s is not
    disturbed for nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        pass  # the operator's limit stands; what it leads to is said where it happens
