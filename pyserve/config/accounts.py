"""Users and groups of this machine: whom a process may become, and what that user may enter.

I/O: reads the user database and the modes of folders; changes nothing. Looked at beforehand, because a program that
its user can't reach fails in words that say nothing of the folder in the way.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from pyserve.config.model import App, Isolation

READ, WRITE, ENTER = 4, 2, 1
_MOST_LINKS = 40
"""As many as the kernel follows on the way to one file."""


class Identity(NamedTuple):
    """Whom a process runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = "/"


class CannotBecome(Exception):
    """The text says why; ``key`` which of ``user`` and ``group`` is at fault."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def become(isolation: Isolation) -> Identity | None:
    """Return whom an application's processes have to become, None = they stay. Raises ``CannotBecome``."""
    if not isolation.user and not isolation.group:
        return None
    import grp
    import pwd

    own_uid = os.geteuid()
    try:
        account = pwd.getpwnam(isolation.user) if isolation.user else pwd.getpwuid(own_uid)
    except KeyError:
        if isolation.user:
            raise CannotBecome("user", f"there is no user {isolation.user!r} on this machine") from None
        account = None
    try:
        gid = grp.getgrnam(isolation.group).gr_gid if isolation.group else None
    except KeyError:
        raise CannotBecome("group", f"there is no group {isolation.group!r} on this machine") from None
    uid = own_uid if account is None else account.pw_uid
    if uid == own_uid and gid in (None, os.getegid()):
        return None
    if own_uid != 0:
        key, name = ("user", isolation.user) if uid != own_uid else ("group", isolation.group)
        raise CannotBecome(key, f"only root can start it as the {key} {name!r}; start pyserve as root")
    if account is None:
        assert gid is not None
        return Identity(uid, gid, (gid,))
    gid = account.pw_gid if gid is None else gid
    return Identity(uid, gid, tuple(os.getgrouplist(account.pw_name, gid)), account.pw_name, account.pw_dir)


def faults(app: App) -> list[tuple[str, str]]:
    """Return what keeps an application from running as it is meant to: the key that wants it, and the reason."""
    isolation = app.isolation
    try:
        identity = become(isolation)
    except CannotBecome as error:
        return [(error.key, str(error))]
    found = []
    if identity is not None:
        key = "user" if isolation.user else "group"
        needed = {app.root: READ | ENTER, app.python: ENTER}
        settings = os.path.join(os.path.dirname(os.path.dirname(app.python)), "pyvenv.cfg")
        if os.path.exists(settings):
            needed[settings] = READ
        reasons = [barrier(path, identity, mode) for path, mode in needed.items()]
        # One folder in the way of several is one fault.
        first = {reason.partition(" (")[0]: reason for reason in reversed(reasons) if reason}
        found += [(key, reason) for reason in reversed(first.values())]
    if isolation.tmp and (reason := _temporary_folder_fault(isolation.tmp, identity)):
        found.append(("tmp", reason))
    return found


def _temporary_folder_fault(folder: str, identity: Identity | None) -> str:
    if not os.path.lexists(folder):
        parent = os.path.dirname(folder)
        return "" if os.path.isdir(parent) else f"no such folder: {parent}"
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    if identity is not None:
        return barrier(folder, identity, READ | WRITE | ENTER)
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"the folder {folder} is not writable"


def barrier(path: str, identity: Identity, mode: int) -> str:
    """Return what keeps ``identity`` from a file or folder that it needs with ``mode``, links followed; "" = nothing.

    What does not exist keeps nobody: that is told elsewhere. LIMIT: by modes and owners; where a folder has an access
    control list it is taken to allow.
    """
    name = repr(identity.name or identity.uid)
    here = "/"
    waiting = path.split("/")[::-1]
    links = 0
    try:
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if not _allows(here, identity, ENTER):
                way = path if not links or _is_above(here, path) else f"{path}, a link to {os.path.realpath(path)}"
                return f"the user {name} can't enter {here} (on the way to {way})"
            if part == "..":
                here = os.path.dirname(here)
                continue
            there = os.path.join(here, part)
            if stat.S_ISLNK(os.lstat(there).st_mode):
                target = os.readlink(there)
                links += 1
                if links > _MOST_LINKS:
                    return ""
                here = "/" if target.startswith("/") else here
                waiting += target.split("/")[::-1]
                continue
            here = there
        if _allows(here, identity, mode):
            return ""
        words = "write to" if mode & WRITE else "read" if mode & READ else "execute"
        return f"the user {name} can't {words} {here}"
    except OSError:
        return ""


def _is_above(folder: str, path: str) -> bool:
    """Is a folder on the way to a path also if no link is followed?"""
    return os.path.normpath(path).startswith(folder.rstrip("/") + "/")


def may_change(folder: str, identity: Identity) -> bool:
    """May ``identity`` put something else in the place of a folder, or of one above it? By its real path."""
    path = os.path.realpath(folder)
    while True:
        info = os.stat(path)
        # In a folder with the sticky bit, as /tmp, everybody may add and only owners may take away.
        is_sticky = bool(info.st_mode & stat.S_ISVTX)
        if info.st_uid == identity.uid or (not is_sticky and _allows(path, identity, WRITE | ENTER)):
            return True
        if path == "/":
            return False
        path = os.path.dirname(path)


def _allows(path: str, identity: Identity, mode: int) -> bool:
    if identity.uid == 0:
        return True
    info = os.stat(path)
    if info.st_uid == identity.uid:
        bits = info.st_mode >> 6
    elif info.st_gid == identity.gid or info.st_gid in identity.groups:
        bits = info.st_mode >> 3
    else:
        bits = info.st_mode
    return bits & mode == mode or _has_access_list(path)


def _has_access_list(path: str) -> bool:
    try:
        os.getxattr(path, "system.posix_acl_access")
    except (OSError, AttributeError):
        return False
    return True
