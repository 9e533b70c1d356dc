"""Open a regular file below a folder, and nothing else.

I/O: the file system. The invariant: the descriptor that comes back is a regular file inside the folder at the moment
of opening, whatever is being renamed meanwhile. Each component is opened from the descriptor of the one before and no
step follows a link; only when a link is in the way is its target resolved, checked to be inside, and walked the same
way. It never opens a FIFO or a device, and never blocks on one.
"""

from __future__ import annotations

import errno
import os
import stat

# NONBLOCK and NOCTTY for the moment between looking and opening: a FIFO put there must not hang the front.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)  # O_PATH is Linux's
_STEPS_OUT = (b"", b".", b"..")


class RootMissing(Exception):
    """The folder of the config itself is not there: the operator's trouble, no wrong path of a client."""


def open_below(root: bytes, name: bytes, *, follows_links: bool) -> int:
    """Return a read-only descriptor of the regular file ``name`` (relative) below the folder ``root``; the caller
    closes.

    Links inside the folder are followed, links out of it only if ``follows_links``. ``root`` may be a link itself.

    Raises ``IsADirectoryError``; ``FileNotFoundError`` for what is missing, outside, or no regular file;
    ``RootMissing``; and other ``OSError`` as the system says.
    """
    parts = name.split(b"/")
    if any(part in _STEPS_OUT for part in parts):
        raise FileNotFoundError(errno.ENOENT, "not a plain relative path")
    if follows_links:
        return _open_following(root, name)
    try:
        return _walk(root, parts)
    except OSError as error:
        # A link shows as ELOOP, or as ENOTDIR where a folder was expected.
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    return _open_linked(root, name)


def open_single(path: bytes) -> int:
    """The same for one file that the config names, whose links are the operator's own."""
    return _open_leaf(path, None, follows_links=True)


def _open_following(root: bytes, name: bytes) -> int:
    try:
        return _open_leaf(os.path.join(root, name), None, follows_links=True)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(root):
            raise RootMissing from None
        raise


def _open_linked(root: bytes, name: bytes) -> int:
    real_root = os.path.realpath(root, strict=True)
    real = os.path.realpath(os.path.join(real_root, name), strict=True)
    inside = real_root if real_root.endswith(b"/") else real_root + b"/"
    if real == real_root:
        raise IsADirectoryError(errno.EISDIR, "the folder itself")
    if not real.startswith(inside):
        raise FileNotFoundError(errno.ENOENT, "a link out of the folder")
    return _walk(real_root, real[len(inside) :].split(b"/"))


def _walk(root: bytes, parts: list[bytes]) -> int:
    try:
        folder = os.open(root, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        raise RootMissing from None
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return _open_leaf(parts[-1], folder, follows_links=False)
    finally:
        os.close(folder)


def _open_leaf(name: bytes, folder: int | None, *, follows_links: bool) -> int:
    # Looked at before it is opened: opening alone already has effects on some devices.
    mode = os.stat(name, dir_fd=folder, follow_symlinks=follows_links).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "a link")
    _require_regular(mode)
    fd = os.open(name, _FILE if follows_links else _FILE | os.O_NOFOLLOW, dir_fd=folder)
    try:
        _require_regular(os.fstat(fd).st_mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder")
    if not stat.S_ISREG(mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
