"""Open a regular file below a folder, and nothing else.

I/O: the file system. The invariant: the descriptor that comes back is a regular file that was inside the folder at the
moment of opening, whatever is being renamed meanwhile. Linux sees to that itself (``openat2``, 5.6 on); elsewhere each
component is opened from the descriptor of the one before and no step follows a link, and only when a link is in the way
is its target resolved, checked to be inside, and walked the same way. Nothing here ever waits for a FIFO or a device.

With ``in_memory`` only what the kernel can tell without its disks is asked for (``RESOLVE_CACHED``, 5.12 on); anything
else raises ``BlockingIOError``: ask again where waiting holds up nobody.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
from collections.abc import Callable

# NONBLOCK and NOCTTY: a FIFO must not hang the front, a terminal must not become its own.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)  # O_PATH is Linux's
_LISTED = os.O_DIRECTORY | os.O_CLOEXEC | os.O_RDONLY
_STEPS_OUT = (b"", b".", b"..")
_HERE = -100  # AT_FDCWD
# openat2(2)
_NUMBER = 437
_NO_XDEV, _NO_MAGICLINKS, _BENEATH, _CACHED = 0x01, 0x02, 0x08, 0x20
# A link that is absolute, or leads out, or to another disk; or one with ".." while something was renamed, anywhere on
# the machine: the kernel can't say then where it leads.
_UNDECIDED = (errno.EXDEV, errno.EAGAIN)


class RootMissing(Exception):
    """The folder of the config itself is not there: the operator's trouble, no wrong path of a client."""


def open_root(root: bytes, *, in_memory: bool = False) -> int:
    """Return a descriptor of the folder, good for ``open_below`` only; the caller closes. Raises ``RootMissing``."""
    try:
        return _openat2(_HERE, root, _FOLDER, _CACHED) if in_memory else os.open(root, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        raise RootMissing from None


def open_below(folder: int, root: bytes, name: bytes, *, follows_links: bool, in_memory: bool = False) -> int:
    """Return a read-only descriptor of the regular file ``name`` (relative) below the folder ``root``, which is open as
    ``folder``; the caller closes.

    Links inside the folder are followed, links out of it only if ``follows_links``. ``root`` may be a link itself.

    Raises ``IsADirectoryError``; ``FileNotFoundError`` for what is missing, outside, or no regular file;
    ``BlockingIOError`` with ``in_memory``; and other ``OSError`` as the system says.
    """
    _check_name(name)
    try:
        fd = _openat2(folder, name, _FILE, _resolve(follows_links, in_memory))
    except OSError as error:
        if error.errno in _UNDECIDED:
            if in_memory:
                raise BlockingIOError from None
            return _open_linked(root, name, _walk)
        if error.errno != errno.ENOSYS:
            raise
    else:
        return _checked(fd)
    if follows_links:
        return _open_leaf(name, folder, follows_links=True)
    return _open_by_steps(folder, root, name, _walk)


def open_folder_below(folder: int, root: bytes, name: bytes, *, follows_links: bool) -> int:
    """The same for a folder whose entries are to be listed; ``name`` may be b"": the root itself."""
    if not name:
        return os.open(root, _LISTED)
    _check_name(name)
    try:
        return _openat2(folder, name, _LISTED, _resolve(follows_links, in_memory=False))
    except OSError as error:
        if error.errno in _UNDECIDED:
            return _open_linked(root, name, _walk_to_folder)
        if error.errno != errno.ENOSYS:
            raise
    if follows_links:
        return os.open(name, _LISTED, dir_fd=folder)
    return _open_by_steps(folder, root, name, _walk_to_folder)


def open_single(path: bytes, *, in_memory: bool = False) -> int:
    """Open one file that the config names, whose links are the operator's own."""
    if in_memory:
        return _checked(_openat2(_HERE, path, _FILE, _CACHED))
    return _open_leaf(path, None, follows_links=True)


def _check_name(name: bytes) -> None:
    if any(part in _STEPS_OUT for part in name.split(b"/")) or b"\0" in name:
        raise FileNotFoundError(errno.ENOENT, "not a plain relative path")


def _checked(fd: int) -> int:
    try:
        _require_regular(os.fstat(fd).st_mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _resolve(follows_links: bool, in_memory: bool) -> int:
    resolve = _NO_MAGICLINKS if follows_links else _NO_MAGICLINKS | _BENEATH
    # Another disk may be a slow one: it is judged on its own.
    return resolve | _CACHED | _NO_XDEV if in_memory else resolve


def _openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
    call = _system_call()
    if call is None:
        if resolve & _CACHED:
            raise BlockingIOError(errno.EAGAIN, "this system can't tell what is in memory")
        raise OSError(errno.ENOSYS, "no openat2 here")
    fd = call(folder, name, flags, resolve)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd


@functools.cache
def _system_call() -> Callable[[int, bytes, int, int], int] | None:
    """Return ``openat2`` as (folder, name, flags, resolve) to a descriptor, or to a negative errno.

    Python has none; None where the system has none either, or a sandbox forbids it.
    """
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    class How(ctypes.Structure):
        _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]

    get_errno = ctypes.get_errno
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    syscall.restype = ctypes.c_long
    hows: dict[tuple[int, int], tuple[How, int]] = {}  # a handful; kept, since making one costs as much as the call

    def openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
        known = hows.get((flags, resolve))
        if known is None:
            how = How(flags, 0, resolve)
            known = hows[flags, resolve] = (how, ctypes.addressof(how))
        fd: int = syscall(_NUMBER, folder, name, known[1], 24)
        return fd if fd >= 0 else -get_errno()

    fd = openat2(_HERE, b".", _FOLDER, _BENEATH | _CACHED)
    if fd >= 0:
        os.close(fd)
    return openat2 if fd >= 0 or fd == -errno.EAGAIN else None


# Where the system does not look after links itself.


def _open_by_steps(folder: int, root: bytes, name: bytes, walk: Callable[[int, list[bytes]], int]) -> int:
    try:
        return walk(folder, name.split(b"/"))
    except OSError as error:
        # A link shows as ELOOP, or as ENOTDIR where a folder was expected.
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    return _open_linked(root, name, walk)


def _open_linked(root: bytes, name: bytes, walk: Callable[[int, list[bytes]], int]) -> int:
    real_root = os.path.realpath(root, strict=True)
    real = os.path.realpath(os.path.join(real_root, name), strict=True)
    inside = real_root if real_root.endswith(b"/") else real_root + b"/"
    if real == real_root:
        raise IsADirectoryError(errno.EISDIR, "the folder itself")
    if not real.startswith(inside):
        raise FileNotFoundError(errno.ENOENT, "a link out of the folder")
    folder = open_root(real_root)
    try:
        return walk(folder, real[len(inside) :].split(b"/"))
    finally:
        os.close(folder)


def _walk(folder: int, parts: list[bytes]) -> int:
    inner = _walk_through(folder, parts[:-1])
    try:
        return _open_leaf(parts[-1], inner, follows_links=False)
    finally:
        os.close(inner)


def _walk_to_folder(folder: int, parts: list[bytes]) -> int:
    inner = _walk_through(folder, parts[:-1])
    try:
        return os.open(parts[-1], _LISTED | os.O_NOFOLLOW, dir_fd=inner)
    finally:
        os.close(inner)


def _walk_through(folder: int, parts: list[bytes]) -> int:
    folder = os.dup(folder)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open_leaf(name: bytes, folder: int | None, *, follows_links: bool) -> int:
    # Looked at before it is opened: opening alone already has effects on some devices.
    mode = os.stat(name, dir_fd=folder, follow_symlinks=follows_links).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "a link")
    _require_regular(mode)
    return _checked(os.open(name, _FILE if follows_links else _FILE | os.O_NOFOLLOW, dir_fd=folder))


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder")
    if not stat.S_ISREG(mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
