"""Step 4 of the request path, handler ``files``: answer from a folder, or from one file.

I/O: through ``files.finder``, on the loop only what the kernel has in memory; whatever may wait for a disk is done in
helper threads, and one look serves all who ask for the same. The transport decides how bytes travel. A change is seen
within a second.

HOT: benchmarks/files_small.py. A hot small file costs one look-up, one look at the clock and one ``send``.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pyserve.config.model import Files
from pyserve.files.cache import FileCache, LookUp
from pyserve.files.entry import FileEntry, Key
from pyserve.files.finder import Finder, IsFolder, IsListing, IsStatus, coded_key, made_key
from pyserve.files.opening import RootMissing
from pyserve.handlers.disposition import attachment
from pyserve.handlers.interface import Exchange, Handler, Lanes, Same
from pyserve.http.conditional import Conditions, Outcome, decide, read_conditions
from pyserve.http.location import AS_WRITTEN, PATH, encode, encode_text, local_reference
from pyserve.http.multipart import frame_parts, multipart_type
from pyserve.http.negotiation import choose
from pyserve.http.request import Request
from pyserve.routing.router import Match

if TYPE_CHECKING:
    from pyserve.handlers.compressed import Compression

FRESH_S = 0.5  # with the 250 ms of the front's coarse clock and 200 ms for folders: a change is seen within a second
"""How long an entry is believed without looking at the file again."""
ASKED_LATELY_S = 60.0
"""Within that the kernel is sure to know a file still, so one ``stat`` does not wait for a disk of this machine."""
CODED_BYTES = 1024 * 1024
"""Up to this size what is compressed here is kept; larger files are compressed on their way, each time."""
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
    errno.EAGAIN: 503,  # another program has a lease on it
    errno.EMFILE: 503,
    errno.ENFILE: 503,
    errno.ENOMEM: 503,
}
_ALLOW = b"allow: GET, HEAD, OPTIONS\r\n"


class Extra(NamedTuple):
    """Header lines beside a file's own."""

    lines: bytes
    content_type: bytes
    """In place of the one that the file's name means; b"" = none."""
    is_lasting: bool
    """The same for every equal head."""


NOTHING = Extra(b"", b"", True)


class StaticHandler:
    """One ``files`` of the config. ``cache`` is shared by all handlers of a front."""

    __slots__ = (
        "_cache",
        "_clock",
        "_compression",
        "_files",
        "_find",
        "_finder",
        "_lanes",
        "_number",
        "_wall_ns",
    )

    def __init__(
        self,
        files: Files,
        cache: FileCache,
        lanes: Lanes,
        compression: Compression | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``compression``: where the route has ``compress``."""
        self._files = files
        self._finder = Finder(files, None if compression is None else compression.configured, clock)
        self._number = self._finder.number
        self._cache = cache
        self._find = cache.entries.get
        self._lanes = lanes
        self._compression = compression
        self._clock = clock
        self._wall_ns = wall_ns

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        request = exchange.request
        if request.method != "GET" and request.method != "HEAD":
            if request.method == "OPTIONS":
                exchange.send(204, _ALLOW, b"")
            else:
                exchange.fail(405, "files are only read", _ALLOW)
            return
        rest = match.rest
        entry = self._find((self._number, rest))
        if entry is not None and entry.fresh_until_s >= self._clock() and rest and not self._files.download:
            entry.is_hot = True
            self._cache.hits += 1
            self._answer(exchange, entry, NOTHING)
        elif self._is_bare_prefix(request, match):
            _redirect_to_folder(exchange)
        else:
            extra = NOTHING
            if self._files.download and b"download" in request.query:
                lines = attachment(request.query, request.path)
                extra = Extra(lines, b"", True) if lines else NOTHING
            self.serve(exchange, rest, extra)

    def serve(self, exchange: Exchange, rest: str, extra: Extra = NOTHING) -> None:
        """Answer a GET or HEAD with the file that ``rest`` means, now or once it was found."""
        self._look_up(
            (self._number, rest),
            lambda wall_ns: self._finder.find(rest, wall_ns, in_memory=True, known=self._fresh),
            lambda known, wall_ns: self._finder.find_again(rest, wall_ns, known),
            lambda entry: self._answer(exchange, entry, extra),
            lambda error: self._fail(exchange, rest, error),
        )

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

    # Finding.

    def _look_up(
        self,
        key: Key,
        find: Callable[[int], FileEntry],
        find_again: Callable[[FileEntry | None, int], FileEntry],
        found: Callable[[FileEntry], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Call ``found`` with the entry as the file is now, or ``failed``; at once if no disk has to be waited for.

        ``find``: tells it from memory, or raises ``BlockingIOError``. ``find_again``: for a thread.
        """
        known = self._find(key)
        now_s = self._clock()
        if known is not None:
            known.is_hot = True
            if known.fresh_until_s >= now_s:
                self._cache.hits += 1
                found(known)
                return
        pending = self._cache.look_ups.get(key)
        if pending is not None:
            if pending.is_overdue:
                failed(TimeoutError("the disk gives no answer"))
            else:
                pending.waiting.append((found, failed))
            return
        if self._finder.is_local:
            wall_ns = self._wall_ns()
            try:
                if (
                    known is not None
                    and known.is_local
                    and now_s - known.fresh_until_s < ASKED_LATELY_S
                    and self._finder.is_unchanged(known, wall_ns)
                ):
                    entry = known
                else:
                    entry = find(wall_ns)
            except BlockingIOError:
                pass
            except Exception as error:
                if not self._has_room_again(error):
                    self._not_found(key, known, error, found, failed)
                    return
            else:
                found(self._keep(key, known, entry, now_s))
                return
        look_up: LookUp[FileEntry] = LookUp(now_s)
        self._cache.look_ups[key] = look_up
        look_up.waiting.append((found, failed))
        self._ask_disk(key, look_up, known, find_again, is_again=False)

    def _ask_disk(
        self,
        key: Key,
        look_up: LookUp[FileEntry],
        known: FileEntry | None,
        find_again: Callable[[FileEntry | None, int], FileEntry],
        *,
        is_again: bool,
    ) -> None:
        wall_ns = self._wall_ns()
        if known is not None:
            known.retain()  # it may be let go of meanwhile, and may be what is found

        def done(entry: FileEntry | None, error: BaseException | None) -> None:
            if not is_again and error is not None and self._has_room_again(error):
                self._ask_disk(key, look_up, known, find_again, is_again=True)
            else:
                del self._cache.look_ups[key]
                if entry is not None:
                    entry = self._keep(key, known, entry, self._clock())
                    entry.retain()  # what the first of them makes of it may push it out of the cache
                    look_up.found(entry)
                    entry.release()
                elif error is not None:
                    self._not_found(key, known, error, look_up.found, look_up.failed)
            if known is not None:
                known.release()

        self._cache.waits += 1
        lane = self._lanes.disk if self._finder.is_local else self._lanes.network
        lane.run(lambda: find_again(known, wall_ns), done)

    def _keep(self, key: Key, known: FileEntry | None, entry: FileEntry, now_s: float) -> FileEntry:
        cache = self._cache
        entry.fresh_until_s = now_s + FRESH_S
        entry.keeper = self._renew
        if self._find(entry.key) is entry:
            cache.checks += 1
            return entry
        if known is not None and known.key != entry.key:
            cache.remove(known.key)
        cache.put(entry)
        return entry

    def _renew(self, entry: FileEntry) -> bool:
        """Does an entry that was believed long enough hold still? One look, if that is sure to wait for no disk."""
        now_s = self._clock()
        if entry.fresh_until_s >= now_s:
            return True
        if entry.is_evicted or not entry.is_local or now_s - entry.fresh_until_s > ASKED_LATELY_S:
            return False
        if entry.original is not None and not self._renew(entry.original):
            return False
        if not self._finder.is_unchanged(entry, self._wall_ns()):
            return False
        entry.fresh_until_s = now_s + FRESH_S
        entry.is_hot = True
        self._cache.checks += 1
        return True

    def _fresh(self, key: Key) -> FileEntry | None:
        """Return a fallback's entry if it holds still: many paths may lead to it."""
        entry = self._find(key)
        if entry is None:
            return None
        stale_s = self._clock() - entry.fresh_until_s
        if stale_s > 0 and not (
            entry.is_local and stale_s < ASKED_LATELY_S and self._finder.is_unchanged(entry, self._wall_ns())
        ):
            return None
        entry.is_hot = True
        return entry

    def _has_room_again(self, error: BaseException) -> bool:
        """The process was out of descriptors: did the cache have some to spare?"""
        return isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS and self._cache.close_unused()

    def _not_found(
        self,
        key: Key,
        known: FileEntry | None,
        error: BaseException,
        found: Callable[[FileEntry], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS and known is not None and not known.is_evicted:
            found(known)  # what is at hand is better than nothing
            return
        self._cache.remove(key)
        failed(error)

    def _fail(self, exchange: Exchange, rest: str, error: BaseException) -> None:
        is_listing = isinstance(error, IsListing)
        if isinstance(error, IsFolder) or (is_listing and not exchange.request.path.endswith("/")):
            _redirect_to_folder(exchange)
        elif is_listing:
            self._list(exchange, rest)
        elif isinstance(error, IsStatus):
            exchange.fail(error.status, "no entry of try exists")
        elif isinstance(error, RootMissing):
            exchange.fail(503, f"the folder {self._files.path} is missing")
        elif isinstance(error, TimeoutError):
            exchange.fail(504, f"{rest}: {error}")
        elif isinstance(error, OSError):
            exchange.fail(_STATUSES.get(error.errno or 0, 500), f"{rest}: {error.strerror}")
        else:
            exchange.fail(500, f"{rest}: {error!r}")

    # Answering.

    def _answer(self, exchange: Exchange, entry: FileEntry, extra: Extra) -> None:
        if entry.varies:
            coding = self._coding(exchange.request, entry)
            if coding is not None:
                self._answer_coded(exchange, entry, coding, extra)
                return
        self._send(exchange, entry, extra)

    def _coding(self, request: Request, entry: FileEntry) -> bytes | None:
        coding = choose(request.joined(b"accept-encoding"), entry.offered)
        if coding is not None and coding not in entry.beside and request.field(b"range") is not None:
            return None  # parts of what is made anew each time would be parts of different things
        return coding

    def _answer_coded(self, exchange: Exchange, entry: FileEntry, coding: bytes, extra: Extra) -> None:
        if coding in entry.beside:
            if entry.body is None:
                entry.retain()  # it may be let go of meanwhile, and is what is sent if the coded file has gone
                exchange.at_end(entry.release)
            self._look_up(
                coded_key(entry, coding),
                lambda wall_ns: self._finder.find_coded(entry, coding, wall_ns, in_memory=True),
                lambda known, wall_ns: (
                    known
                    if known is not None and self._finder.is_unchanged(known, wall_ns)
                    else self._finder.find_coded(entry, coding, wall_ns, in_memory=False)
                ),
                lambda coded: self._send(exchange, coded, extra),
                lambda error: self._send(exchange, entry, extra),  # it has gone since
            )
            return
        coded = self._find(made_key(entry, coding))
        # What may have changed without a sign is good for this very entry alone.
        if (
            coded is not None
            and coded.signature == entry.signature
            and (coded.is_settled or coded.fresh_until_s == entry.fresh_until_s)
        ):
            coded.fresh_until_s = entry.fresh_until_s
            coded.is_hot = True
            self._send(exchange, coded, extra)
        elif entry.size > CODED_BYTES:
            if entry.is_local:
                self._send_compressing(exchange, entry, extra)
            else:
                self._send(exchange, entry, extra)  # who compresses must not wait for a network
        else:
            self._compress(exchange, entry, coding, extra)

    def _compress(self, exchange: Exchange, entry: FileEntry, coding: bytes, extra: Extra) -> None:
        """Compress a file's content in a thread, once for all who ask meanwhile, and keep it."""
        from pyserve.http.codings import compress

        entry.retain()
        exchange.at_end(entry.release)
        number, name = made_key(entry, coding)
        key = number, f"{name}\0{id(entry)}"  # of this very content: the file may change meanwhile
        found = lambda coded: self._send(exchange, coded, extra)  # noqa: E731
        failed = lambda error: self._send(exchange, entry, extra)  # noqa: E731
        pending = self._cache.look_ups.get(key)
        if pending is not None and not pending.is_overdue:
            pending.waiting.append((found, failed))
            return
        look_up: LookUp[FileEntry] = LookUp(self._clock())
        self._cache.look_ups[key] = look_up
        look_up.waiting.append((found, failed))
        entry.retain()
        fd, size = entry.fd, entry.size

        def work() -> bytes:
            return compress(coding, entry.body if entry.body is not None else _read_whole(fd, size))

        def done(body: bytes | None, error: BaseException | None) -> None:
            entry.release()
            if self._cache.look_ups.get(key) is look_up:
                del self._cache.look_ups[key]
            if body is None:
                look_up.failed(error or OSError())
                return
            coded = self._finder.code(entry, body, coding)
            coded.fresh_until_s = entry.fresh_until_s
            coded.keeper = self._renew
            self._cache.put(coded)
            look_up.found(coded)

        # What reads from a network's disk may hang, and others wait to be compressed.
        lane = self._lanes.cpu if entry.body is not None or entry.is_local else self._lanes.network
        lane.run(work, done)

    def _send_compressing(self, exchange: Exchange, entry: FileEntry, extra: Extra) -> None:
        """Compress on the way what is too large to keep."""
        request = exchange.request
        assert self._compression is not None
        if request.is_conditional:
            conditions = read_conditions(request.fields)
            if conditions is not None and self._is_decided(exchange, entry, conditions, extra):
                return
        coded = self._compression.around(exchange)
        block = _block(entry, extra).replace(b"vary: accept-encoding\r\n", b"")  # it says so itself
        coded.send_lent(200, block, entry, 0, entry.size)

    def _is_decided(self, exchange: Exchange, entry: FileEntry, conditions: Conditions, extra: Extra) -> bool:
        """Answer if the conditions leave nothing to send."""
        is_get = exchange.request.method == "GET"
        outcome = decide(conditions, b"W/" + entry.etag, entry.mtime_s, entry.size, is_get=is_get)
        if outcome.status == 304:
            # What the 200 would have (RFC 9110 §15.4.5): a weak tag, and no ranges.
            block = entry.unchanged_block.replace(b"etag: ", b"etag: W/", 1).replace(
                b"accept-ranges: bytes\r\n", b"", 1
            )
            exchange.send(304, block + extra.lines, b"", 0, _same(entry) if extra.is_lasting else None)
        elif outcome.status == 412:
            self._send_outcome(exchange, entry, outcome, extra)
        else:
            return False
        return True

    def _send(self, exchange: Exchange, entry: FileEntry, extra: Extra) -> None:
        request = exchange.request
        conditions = read_conditions(request.fields) if request.is_conditional else None
        if conditions is not None and request.method in ("GET", "HEAD"):
            is_get = request.method == "GET"
            outcome = decide(conditions, entry.etag, entry.mtime_s, entry.size, is_get=is_get)
            self._send_outcome(exchange, entry, outcome, extra)
        elif entry.body is not None and extra is NOTHING:
            exchange.send(200, entry.block, entry.body, 0, _same(entry))
        else:
            _send_part(exchange, 200, _block(entry, extra), entry, 0, entry.size, extra.is_lasting)

    def _send_outcome(self, exchange: Exchange, entry: FileEntry, outcome: Outcome, extra: Extra) -> None:
        status = outcome.status
        if status == 200:
            _send_part(exchange, 200, _block(entry, extra), entry, 0, entry.size, extra.is_lasting)
        elif status == 206 and outcome.parts:
            _send_parts(exchange, entry, outcome, extra)
        elif status == 206:
            first, count = outcome.first, outcome.count
            span = b"content-range: bytes %d-%d/%d\r\n" % (first, first + count - 1, entry.size)
            _send_part(exchange, 206, _block(entry, extra) + span, entry, first, count, extra.is_lasting)
        elif status == 304:
            block = entry.unchanged_block + extra.lines
            exchange.send(304, block, b"", 0, _same(entry) if extra.is_lasting else None)
        elif status == 416:
            exchange.fail(416, "range beyond the end", b"content-range: bytes */%d\r\n" % entry.size)
        else:
            exchange.fail(412, "the file has changed")

    def _list(self, exchange: Exchange, rest: str) -> None:
        from pyserve.files import listing
        from pyserve.http.negotiation import prefers

        request = exchange.request
        path = request.path
        order = listing.parse_order(request.query)
        is_json = prefers(request.joined(b"accept"), (b"text/html", b"application/json")) == b"application/json"

        def work() -> bytes:
            items, is_cut = self._finder.list_folder(rest)
            return (
                listing.render_json(items, order, is_cut)
                if is_json
                else listing.render_html(path, items, order, is_cut)
            )

        def found(page: bytes) -> None:
            block = b"content-type: %b\r\nvary: accept\r\n" % (listing.JSON_TYPE if is_json else listing.HTML_TYPE)
            if not is_json:
                block += b"content-security-policy: %b\r\n" % listing.POLICY
            around = exchange if self._compression is None else self._compression.around(exchange)
            around.send(200, block, page)

        waiting = (found, lambda error: self._fail(exchange, rest, error))
        key = self._number, f"{path}\0{is_json}{order}"  # no path has a NUL in it, so this is the key of no file
        pending = self._cache.look_ups.get(key)
        if pending is not None:
            if pending.is_overdue:
                waiting[1](TimeoutError("the disk gives no answer"))
            else:
                pending.waiting.append(waiting)
            return
        look_up: LookUp[bytes] = LookUp(self._clock())
        self._cache.look_ups[key] = look_up
        look_up.waiting.append(waiting)

        def done(page: bytes | None, error: BaseException | None) -> None:
            del self._cache.look_ups[key]
            if page is None:
                look_up.failed(error or OSError())
            else:
                look_up.found(page)

        lane = self._lanes.disk if self._finder.is_local else self._lanes.network
        lane.run(work, done)


class _Until:
    """An answer that holds for a moment, and then is looked for again."""

    __slots__ = ("fresh_until_s",)

    def __init__(self, fresh_until_s: float) -> None:
        self.fresh_until_s = fresh_until_s

    def renew(self) -> bool:
        return False


def _same(entry: FileEntry) -> Same:
    """What paths fall back to may be as it was while one of them has got a file of its own."""
    return entry if entry.key[0] > 0 else _Until(entry.fresh_until_s)


def _block(entry: FileEntry, extra: Extra) -> bytes:
    if extra is NOTHING:
        return entry.block
    if not extra.content_type:
        return extra.lines + entry.block
    return b"%bcontent-type: %b\r\n%b" % (extra.lines, extra.content_type, _without_type(entry))


def _without_type(entry: FileEntry) -> bytes:
    return entry.block[entry.block.index(b"\n") + 1 :]


def _send_part(
    exchange: Exchange, status: int, block: bytes, entry: FileEntry, first: int, count: int, is_lasting: bool
) -> None:
    same = _same(entry) if is_lasting else None
    if entry.body is not None:
        exchange.send(status, block, entry.body if count == entry.size else entry.body[first : first + count], 0, same)
    elif exchange.request.method == "HEAD":
        exchange.send_head(status, block, count)
        exchange.finish()
    else:
        exchange.send_lent(status, block, entry, first, count, same)


def _send_parts(exchange: Exchange, entry: FileEntry, outcome: Outcome, extra: Extra) -> None:
    """Send several ranges as ``multipart/byteranges``."""
    boundary = os.urandom(16).hex().encode()
    frames = frame_parts(outcome.parts, entry.size, extra.content_type or entry.content_type, boundary)
    block = b"%bcontent-type: %b\r\n%b" % (extra.lines, multipart_type(boundary), _without_type(entry))
    entry.retain()
    exchange.at_end(entry.release)
    exchange.send_head(206, block, frames.length)
    for head, (first, count) in zip(frames.heads, outcome.parts, strict=True):
        exchange.send_data(head)
        if entry.body is not None:
            exchange.send_data(entry.body[first : first + count])
        else:
            exchange.send_file(entry.fd, first, count)
    exchange.send_data(frames.tail)
    exchange.finish()


def _redirect_to_folder(exchange: Exchange) -> None:
    request = exchange.request
    location = local_reference(encode_text(request.path, PATH)) + b"/"
    if request.query:
        location += b"?" + encode(request.query, AS_WRITTEN)
    exchange.send(301, b"location: %b\r\n" % location, b"")


def _read_whole(fd: int, size: int) -> bytes:
    """Read in a thread; the descriptor's position is nobody's."""
    pieces = []
    at = 0
    while at < size:
        piece = os.pread(fd, min(size - at, 1 << 20), at)
        if not piece:
            raise OSError(errno.EIO, "the file has shrunk")
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
