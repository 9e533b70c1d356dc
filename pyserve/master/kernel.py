"""What the master asks of the kernel beyond processes and sockets, with a way round where there is no such call.

I/O: process-wide settings, once at start. Linux only ones do nothing elsewhere.
"""

from __future__ import annotations

import os
import sys

from pyserve.errors import CannotStart
from pyserve.master.child import Identity

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Have orphaned descendants (a dead template's workers) become our children; False where that can't be."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def is_root() -> bool:
    return os.geteuid() == 0


def hide_memory_if_root() -> None:
    """Make a process that was started as root not dumpable (D18)."""
    if is_root():
        _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    return bool(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) == 0)


def identity_of(user: str) -> Identity:
    """Return whom ``user`` (a name or a number) is to the kernel; raise ``CannotStart``."""
    import pwd

    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise CannotStart(f"no such user: {user!r} ([server] user)") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Identity(entry.pw_uid, entry.pw_gid, tuple(groups))
