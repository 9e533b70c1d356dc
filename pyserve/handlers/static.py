"""Step 4 of the request path, handler ``files``: answer from a folder, or from one file.

I/O: the file system, through ``open_file`` and ``file_cache``; the transport decides how bytes travel. The invariants:
nothing outside the folder, nothing hidden (a segment that begins with a dot, but ``.well-known``), nothing that is not
a regular file; a change is seen within a second. It lists no folders.

HOT: benchmarks/files_small.py. A hot small file costs one look-up, one look at the clock and one ``send``.
LIMIT: a path that is not hot is opened on the loop's own thread; hurts when its disk or network mount hangs.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator

from pyserve.config.model import Files
from pyserve.handlers.file_cache import FileCache, FileEntry, signature_of
from pyserve.handlers.interface import Exchange, Handler
from pyserve.handlers.media_types import content_type
from pyserve.handlers.open_file import RootMissing, open_below, open_single
from pyserve.http.conditional import Conditions, decide, read_conditions
from pyserve.http.location import AS_WRITTEN, PATH, encode, encode_text, local_reference
from pyserve.http.request import Request
from pyserve.routing.router import Match

FRESH_S = 0.7  # with the 250 ms of the front's coarse clock: a change is seen within a second
"""How long an entry is believed without looking at the file again."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_STATUSES = {
    errno.EACCES: 403,
    errno.EPERM: 403,
    errno.ENOENT: 404,
    errno.ENOTDIR: 404,
    errno.EISDIR: 404,
    errno.ELOOP: 404,
    errno.ENAMETOOLONG: 404,
    errno.ENXIO: 404,
    errno.EMFILE: 503,
    errno.ENFILE: 503,
    errno.ENOMEM: 503,
}
_ALLOW = b"allow: GET, HEAD, OPTIONS\r\n"
_numbers = itertools.count(1)


class _Folder(Exception):
    """The path names a folder but has no slash at its end."""


class _Status(Exception):
    """The last entry of ``try`` is a status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StaticHandler:
    """One ``files`` of the config. ``cache`` is shared by all handlers of a front."""

    __slots__ = ("_cache", "_clock", "_files", "_find", "_number", "_root", "_wall_ns")

    def __init__(
        self,
        files: Files,
        cache: FileCache,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._files = files
        self._root = os.fsencode(files.path)
        self._cache = cache
        self._find = cache.entries.get
        self._clock = clock
        self._wall_ns = wall_ns
        self._number = next(_numbers)  # never used twice, so an entry of a handler that is gone can't be found

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        request = exchange.request
        if request.method != "GET" and request.method != "HEAD":
            if request.method == "OPTIONS":
                exchange.send(204, _ALLOW, b"")
            else:
                exchange.fail(405, "files are only read", _ALLOW)
            return
        entry = self._find((self._number, match.rest))
        if entry is None or entry.fresh_until_s < self._clock() or not match.rest:
            entry = self._look_up(exchange, match, entry)
            if entry is None:
                return
        else:
            entry.is_hot = True
        conditions = read_conditions(request.fields) if request.is_conditional else None
        if conditions is not None:
            self._send_conditional(exchange, entry, conditions)
        elif entry.body is not None:
            exchange.send(200, entry.block, entry.body, 0, entry.fresh_until_s)
        else:
            _send_part(exchange, 200, entry.block, entry, 0, entry.size)

    def _send_conditional(self, exchange: Exchange, entry: FileEntry, conditions: Conditions) -> None:
        is_get = exchange.request.method == "GET"
        status, first, count, parts = decide(conditions, entry.etag, entry.mtime_s, entry.size, is_get=is_get)
        if status == 200 or parts:
            # LIMIT: several ranges get the whole; hurts who wants little pieces of much.
            _send_part(exchange, 200, entry.block, entry, 0, entry.size)
        elif status == 206:
            span = b"content-range: bytes %d-%d/%d\r\n" % (first, first + count - 1, entry.size)
            _send_part(exchange, 206, entry.block + span, entry, first, count)
        elif status == 304:
            exchange.send(304, entry.unchanged_block, b"", 0, entry.fresh_until_s)
        elif status == 416:
            exchange.fail(416, "range beyond the end", b"content-range: bytes */%d\r\n" % entry.size)
        else:
            exchange.fail(412, "the file has changed")

    def _look_up(self, exchange: Exchange, match: Match[Handler], known: FileEntry | None) -> FileEntry | None:
        """Return the entry for a match, as the file is now; None if the exchange was answered otherwise."""
        request = exchange.request
        now_s = self._clock()
        try:
            if self._is_bare_prefix(request, match):
                raise _Folder
            if known is not None and known.fresh_until_s >= now_s:
                known.is_hot = True
                return known
            return self._current(match.rest, known, now_s)
        except _Folder:
            _redirect_to_folder(exchange)
        except _Status as wanted:
            exchange.fail(wanted.status, "no entry of try exists")
        except RootMissing:
            exchange.fail(503, f"the folder {self._files.path} is missing")
        except OSError as error:
            exchange.fail(_STATUSES.get(error.errno or 0, 500), f"{match.rest}: {error.strerror}")
        return None

    def _is_bare_prefix(self, request: Request, match: Match[Handler]) -> bool:
        """``/x`` on the route ``/x/*``: the folder itself, without the slash that relative links need."""
        return (
            not match.rest
            and not self._files.is_single
            and not self._files.tries
            and match.route is not None
            and match.route.path.endswith("/*")
            and not request.path.endswith("/")
        )

    def _current(self, rest: str, known: FileEntry | None, now_s: float) -> FileEntry:
        if known is not None and self._is_unchanged(known):
            known.fresh_until_s = now_s + FRESH_S
            known.is_hot = True
            return known
        try:
            entry = self._first_with_room(rest, now_s)
        except OSError as error:
            if known is not None and error.errno in _NO_DESCRIPTORS and not known.is_evicted:
                return known  # what is at hand is better than nothing
            self._cache.remove((self._number, rest))
            raise
        except Exception:
            self._cache.remove((self._number, rest))
            raise
        if known is not None and entry.key != known.key:
            self._cache.remove(known.key)
        return entry

    def _first_with_room(self, rest: str, now_s: float) -> FileEntry:
        """``_first``; when the process is out of descriptors, once more with those that the cache can spare."""
        try:
            return self._first(rest, now_s)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS or not self._cache.close_unused():
                raise
        return self._first(rest, now_s)

    def _is_unchanged(self, entry: FileEntry) -> bool:
        if not entry.is_quick or not entry.is_settled:
            return False
        try:
            return signature_of(os.stat(entry.path)) == entry.signature
        except OSError:
            return False

    def _first(self, rest: str, now_s: float) -> FileEntry:
        """Return the entry of the first candidate that is a file; raise what the last one met."""
        if self._files.is_single:
            return self._open((self._number, rest), "", now_s, is_quick=True)
        missing = FileNotFoundError(errno.ENOENT, "not found")
        is_first = True
        for name, is_from_path in self._candidates(rest):
            # Fallbacks have a key space of their own: one entry, however many paths fall back to it.
            key = (self._number, rest) if is_from_path else (-self._number, name)
            try:
                fallback = None if is_from_path else self._find(key)
                if fallback is not None:
                    fallback.is_hot = True
                    if fallback.fresh_until_s >= now_s:
                        return fallback
                    if self._is_unchanged(fallback):
                        fallback.fresh_until_s = now_s + FRESH_S
                        return fallback
                return self._open(key, name, now_s, is_quick=is_first or not is_from_path)
            except IsADirectoryError:
                if not self._files.tries and is_from_path and name == rest:
                    raise _Folder from None
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
                    raise
            is_first = False
        raise missing

    def _candidates(self, rest: str) -> Iterator[tuple[str, bool]]:
        """Yield (relative name, made from the path?) in the order of ``try``, folders as their index files."""
        is_servable = _is_servable(rest)
        for template in self._files.tries or ("{path}",):
            if template.startswith("="):
                raise _Status(int(template[1:]))
            is_from_path = "{path}" in template
            if is_from_path and not is_servable:
                continue
            name = template.replace("{path}", rest).replace("//", "/").removeprefix("/")
            if name and not name.endswith("/"):
                yield name, is_from_path
            else:
                for index in self._files.index:
                    yield name + index, is_from_path

    def _open(self, key: tuple[int, str], name: str, now_s: float, *, is_quick: bool) -> FileEntry:
        """Open, load and keep one file."""
        if self._files.is_single:
            path = self._root
            fd = open_single(path)
        else:
            # Not the locale's encoding: a name is the bytes that stood in the URL.
            raw_name = name.encode("utf-8", "surrogateescape")
            path = os.path.join(self._root, raw_name)
            fd = open_below(self._root, raw_name, follows_links=self._files.symlinks)
        entry = FileEntry(key, path, is_quick=is_quick)
        entry.load(fd, content_type(name or self._files.path), self._files.cache, self._wall_ns())
        entry.fresh_until_s = now_s + FRESH_S
        self._cache.put(entry)
        return entry


def _send_part(exchange: Exchange, status: int, block: bytes, entry: FileEntry, first: int, count: int) -> None:
    if entry.body is not None:
        exchange.send(status, block, entry.body if count == entry.size else entry.body[first : first + count])
    elif exchange.request.method == "HEAD":
        exchange.send_head(status, block, count)
        exchange.finish()
    else:
        exchange.send_lent(status, block, entry, first, count, entry.fresh_until_s)


def _redirect_to_folder(exchange: Exchange) -> None:
    request = exchange.request
    location = local_reference(encode_text(request.path, PATH)) + b"/"
    if request.query:
        location += b"?" + encode(request.query, AS_WRITTEN)
    exchange.send(301, b"location: %b\r\n" % location, b"")


def _is_servable(rest: str) -> bool:
    """Whether a client may name this: no empty segment but the last, none that is hidden or leads out."""
    if rest.startswith(("/", ".")) or "//" in rest or "/." in rest:
        segments = rest.removesuffix("/").split("/")
        return all(segment and (segment[0] != "." or segment == ".well-known") for segment in segments)
    return True
