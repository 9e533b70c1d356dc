"""What the master asks of the kernel beyond processes and sockets, with a way round where there is no such call.

I/O: process-wide settings, once at start. Linux only ones do nothing elsewhere.
"""

from __future__ import annotations

import os

from pyserve.config.accounts import Identity
from pyserve.errors import CannotStart
from pyserve.net.prctl import hide_memory


def is_root() -> bool:
    return os.geteuid() == 0


def hide_memory_if_root() -> None:
    """Make a process that was started as root not dumpable (D18)."""
    if is_root():
        hide_memory()


def identity_of(user: str) -> Identity:
    """Return whom ``user`` (a name or a number) is to the kernel; raise ``CannotStart``."""
    import pwd

    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise CannotStart(f"no such user: {user!r} ([server] user)") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Identity(entry.pw_uid, entry.pw_gid, tuple(groups), entry.pw_name, entry.pw_dir)
