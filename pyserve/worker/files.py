"""Step 6: files of the application, which go to the front as descriptors instead of bytes.

I/O: looks at files, opens those that are named by path, reads small ones. Protects: what is handed over is a regular
file that may be read, from the very position where the application's own reading would begin; whatever reads as
something else than the bytes of its descriptor (gzip, text, a limited reader) is never taken for one.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from fcntl import F_GETFL, fcntl
from typing import Any

from ..wire.frames import MAX_PAYLOAD

LEAST_BYTES = MAX_PAYLOAD + 1
"""What fits into one frame is read and sent as bytes: a descriptor would cost more than the copies."""

_FILES = (io.BufferedReader, io.FileIO, io.BufferedRandom)


class FileWrapper:
    """``wsgi.file_wrapper``: an open file as blocks of 64 KiB, whatever smaller size was asked for (a frame's worth
    each). Returned just as it is, and if it is a real file, the front sends it (``open_file``).
    """

    def __init__(self, file: Any, block_bytes: int = 65536) -> None:
        self.file = file
        self._block_bytes = max(block_bytes, 65536)
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.file.read(self._block_bytes)
        if data:
            return data
        raise StopIteration


def open_file(file: Any) -> tuple[int, int, int] | None:
    """Return ``(fd, offset, count)`` of what reading ``file`` to its end would give, ``count`` at least 1.

    None where only reading can tell: no regular file, nothing left of it, or its ``read`` is somebody's own.
    """
    try:
        plain = _plain(file)
        if plain is None:
            return None
        if type(plain) is io.BufferedRandom:
            plain.flush()
        raw = plain if type(plain) is io.FileIO else plain.raw
        if type(raw) is not io.FileIO or not raw.readable():
            return None
        fd = raw.fileno()
        # Asked of the outermost: the raw file's position is ahead by what is in the buffer.
        offset = plain.tell()
        count = regular_bytes(fd) - offset
    except Exception:
        return None  # closed, a pipe, or an object of the application's that raises: reading it will say what is wrong
    return (fd, offset, count) if count > 0 else None


def _plain(file: Any) -> Any:
    """Return the file of the standard library whose ``read`` an object's ``read`` is, or None."""
    kind = type(file)
    if kind in _FILES:
        return file
    if kind.__module__ == "tempfile" and kind.__name__ == "_TemporaryFileWrapper":
        file = file.file
    else:
        # Wrappers that pass the method itself on, as Django's File does.
        file = getattr(file.read, "__self__", None)
    return file if type(file) in _FILES else None


def regular_bytes(fd: int) -> int:
    """Return the size of an open file; raise ``OSError`` if it is not a regular one."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return status.st_size


def open_path(path: Any) -> tuple[int, int]:
    """Return ``(fd, bytes)`` of the regular file with an absolute path; the caller closes. Never waits for a FIFO.

    Raises ``TypeError``, ``ValueError`` and ``OSError``.
    """
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    if not os.path.isabs(path):
        raise ValueError(f"path {path!r} is not absolute")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return fd, status.st_size
    except BaseException:
        os.close(fd)
        raise


def piece_of(file: Any, offset: int | None, count: int | None) -> tuple[int, int, int]:
    """Return ``(fd, offset, count)`` of a zero-copy send: as far as there are so many bytes.

    Without an ``offset`` it is the file's position, which moves on. ``file``: a descriptor or an object that has one.
    Raises ``TypeError``, ``ValueError`` and ``OSError``.
    """
    fd = file if isinstance(file, int) else file.fileno()
    for number in (offset, count):
        if number is not None and (not isinstance(number, int) or number < 0):
            raise ValueError(f"offset and count are numbers of bytes, not {number!r}")
    size = regular_bytes(fd)
    if fcntl(fd, F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise OSError(errno.EBADF, "the file was opened for writing only")
    is_buffered = isinstance(file, io.BufferedIOBase)
    if isinstance(file, io.BufferedRandom):
        file.flush()
    start = offset
    if start is None:
        start = file.tell() if is_buffered else os.lseek(fd, 0, os.SEEK_CUR)
    left = max(0, size - start)
    count = left if count is None else min(count, left)
    if offset is None:
        if is_buffered:
            file.seek(start + count)
        else:
            os.lseek(fd, start + count, os.SEEK_SET)
    return fd, start, count


def read_piece(fd: int, offset: int, count: int) -> bytes:
    """Return ``count`` bytes of a file; raise ``OSError`` if it has become shorter."""
    pieces = []
    while count:
        data = os.pread(fd, count, offset)
        if not data:
            raise OSError(errno.EIO, "the file has become shorter while it was sent")
        pieces.append(data)
        offset += len(data)
        count -= len(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
