"""One file made ready to be sent: head, and body or open descriptor.

I/O: reads what ``opening`` opened. The invariants: an entry is what the file was at one moment, its validators and its
bytes together; a descriptor is closed exactly once, and never while an exchange still sends from it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from pyserve.http.conditional import format_date

SMALL_BYTES = 64 * 1024
"""Up to this size the body is kept in memory and goes out with its head in one write."""
_SETTLED_NS = 2_000_000_000  # a file changed twice within a clock tick may look the same; older than this it can't
_READ_ATTEMPTS = 3
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)

Key = tuple[int, str]
Signature = tuple[int, int, int, int, int]


def signature_of(status: os.stat_result) -> Signature:
    """What differs whenever a file's content was replaced or written."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(status: os.stat_result, wall_ns: int) -> bool:
    """Would the next change show in the signature?"""
    return wall_ns - status.st_mtime_ns > _SETTLED_NS


class FileEntry:
    """One file, ready. Slots and plain attributes: it is read once per request on the hot path."""

    __slots__ = (
        "beside",
        "block",
        "body",
        "content_type",
        "etag",
        "fd",
        "folder",
        "fresh_until_s",
        "is_evicted",
        "is_hot",
        "is_local",
        "is_quick",
        "is_settled",
        "keeper",
        "key",
        "mtime_s",
        "name",
        "offered",
        "original",
        "path",
        "signature",
        "size",
        "unchanged_block",
        "users",
        "varies",
    )

    block: bytes
    """Header lines of a 200."""
    unchanged_block: bytes
    """Header lines of a 304 and a 416: no word about content."""
    content_type: bytes
    body: bytes | None
    """None = not small: send from ``fd``."""
    fd: int
    """-1 = closed or never kept."""
    name: bytes
    """Relative to the handler's folder."""
    path: bytes
    """Where one ``stat`` (links followed) tells whether it is still the same file."""
    is_quick: bool
    """That one ``stat`` is enough; False where another file may have come before this one in ``try`` or ``index``."""
    is_settled: bool
    is_local: bool
    """On a disk that answers by itself, so that one ``stat`` of what was asked for just now holds up nobody."""
    fresh_until_s: float
    """Monotonic; after that it is looked at again."""
    beside: tuple[bytes, ...]
    """Content codings that lie beside it as files."""
    offered: tuple[bytes, ...]
    """Those, and what may be made here; the favourite first."""
    varies: bool
    """Does what is sent depend on Accept-Encoding?"""
    original: FileEntry | None
    """Of which this is a coded version: it holds only while that does."""
    keeper: Callable[[FileEntry], bool] | None
    """Looks whether it still holds, and says so in ``fresh_until_s``."""
    folder: tuple[bytes, Signature] | None
    """Where those would lie, and as what it was seen: a file that comes or goes changes it. None = nobody looks."""

    def __init__(self, key: Key, name: bytes, path: bytes, *, is_quick: bool) -> None:
        self.key = key
        self.name = name
        self.path = path
        self.is_quick = is_quick
        self.fd = -1
        self.users = 0
        self.is_hot = False
        self.is_evicted = False
        self.is_local = True
        self.fresh_until_s = 0.0
        self.beside = self.offered = ()
        self.varies = False
        self.folder = None
        self.original = None
        self.keeper = None

    def load(self, fd: int, content_type: bytes, wall_ns: int, *, coding: bytes = b"", in_memory: bool = False) -> None:
        """Fill the entry from an open regular file; takes ``fd`` over (closes it if the body is small, or on error).

        ``coding``: that the file's content has. Raises ``BlockingIOError`` with ``in_memory`` if the content is not.
        """
        try:
            status = os.fstat(fd)
            self.body = None
            if status.st_size <= SMALL_BYTES:
                status, self.body = _read_small(fd, status, in_memory)
        except BaseException:
            os.close(fd)
            raise
        if self.body is None:
            self.fd = fd
        else:
            os.close(fd)
        self.signature = signature_of(status)
        self.size = status.st_size if self.body is None else len(self.body)
        self.mtime_s = max(status.st_mtime_ns // 1_000_000_000, 0)
        self.is_settled = is_settled(status, wall_ns)
        self.content_type = content_type
        suffix = b"-" + coding if coding else b""
        self.etag = b'"%x-%x%b"' % (max(status.st_mtime_ns, 0), self.size, suffix)

    def become(self, original: FileEntry, body: bytes) -> None:
        """Fill the entry with what a file's content became when it was coded; its tag is weak (RFC 9110 §8.8.1)."""
        self.body = body
        self.size = len(body)
        self.signature = original.signature
        self.mtime_s = original.mtime_s
        self.is_settled = original.is_settled
        self.is_local = original.is_local
        self.original = original
        self.content_type = original.content_type
        self.etag = b"W/" + original.etag

    def write_heads(self, cache: bytes, coding: bytes = b"") -> None:
        """Make the header lines; ``cache``: the value of Cache-Control, or b""."""
        self.unchanged_block = b"etag: %b\r\nlast-modified: %b\r\n%b%b%b" % (
            self.etag,
            format_date(self.mtime_s),
            b"" if self.etag.startswith(b"W/") else b"accept-ranges: bytes\r\n",
            b"cache-control: %b\r\n" % cache if cache else b"",
            b"vary: accept-encoding\r\n" if self.varies else b"",
        )
        encoding = b"content-encoding: %b\r\n" % coding if coding else b""
        self.block = b"content-type: %b\r\n%b%b" % (self.content_type, encoding, self.unchanged_block)

    def renew(self) -> bool:
        return self.keeper is not None and self.keeper(self)

    def retain(self) -> None:
        self.users += 1

    def release(self) -> None:
        """One exchange less sends from the descriptor."""
        self.users -= 1
        if self.is_evicted and not self.users:
            self.close()

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def _read_small(fd: int, status: os.stat_result, in_memory: bool) -> tuple[os.stat_result, bytes | None]:
    """Return a body and the status that it belongs to; no body if it isn't small any more. Of a file that is written
    without pause the status is an earlier one, so that the next look sees a change."""
    before = status
    body = b""
    for _ in range(_READ_ATTEMPTS):
        body = _read_from_memory(fd, status.st_size) if in_memory else _read(fd, status.st_size)
        before, status = status, os.fstat(fd)
        if signature_of(status) == signature_of(before) and len(body) == status.st_size:
            break
        if status.st_size > SMALL_BYTES:
            return status, None
    return before, body


def _read(fd: int, count: int) -> bytes:
    body = b""
    while len(body) < count and (data := os.pread(fd, count - len(body), len(body))):
        body += data
    return body


def _read_from_memory(fd: int, count: int) -> bytes:
    if not count:
        return b""
    if not _NO_WAIT:
        raise BlockingIOError
    body = bytearray(count)
    try:
        got = os.preadv(fd, (body,), 0, _NO_WAIT)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return _read(fd, count)  # a disk in memory
        raise
    if got < count and os.fstat(fd).st_size >= count:
        raise BlockingIOError  # only some of it is there
    return bytes(body[:got]) if got < count else bytes(body)
