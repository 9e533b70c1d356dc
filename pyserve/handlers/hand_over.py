"""Step 6 of the request path: an application names a file instead of sending it (``X-Accel-Redirect``, ``X-Sendfile``).

I/O: through ``handlers.static``. The front opens the file, so it serves only what the config allows, and no link out of
that. It stands between an application's call and the exchange: an answer that names a file is over for the application
at once, and goes on as that file's, with ranges, conditions and ``sendfile``; what the application still says is
dropped, and no client hears that it named anything.

HOT: an answer that names nothing pays for two looks into its lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyserve.config.model import Files
from pyserve.errors import RequestError
from pyserve.files.cache import FileCache
from pyserve.handlers.file_page import Report
from pyserve.handlers.interface import Exchange, Lanes, Lent, Receiver, Same
from pyserve.handlers.static import Extra, StaticHandler
from pyserve.http.target import decode_path

_ACCEL = b"x-accel-redirect"
_SENDFILE = b"x-sendfile"
_NAMES = (_ACCEL, _SENDFILE)
# What an application can't know of a file that it does not read, and what the front says itself.
_NOT_ITS_OWN = frozenset(
    (
        *(b"etag", b"last-modified", b"accept-ranges", b"content-range", b"content-encoding"),
        *(b"content-md5", b"digest", b"content-digest", b"repr-digest", b"date", b"server"),
    )
)


class HandOver:
    """The folders of one application's ``hand_over``: path prefixes to folders."""

    __slots__ = ("_app", "_by_folder", "_by_prefix", "_report")

    def __init__(
        self, app: str, folders: Sequence[tuple[str, str]], cache: FileCache, lanes: Lanes, report: Report
    ) -> None:
        """``report``: who hears of an application that fails after it has named a file."""
        self._app = app
        self._report = report
        served = [
            (prefix + "/", folder.rstrip("/") + "/", StaticHandler(_files_below(folder), cache, lanes))
            for prefix, folder in folders
        ]
        # The longest is the nearest one.
        self._by_prefix = [(item[0], item[2]) for item in sorted(served, key=lambda item: -len(item[0]))]
        self._by_folder = [(item[1], item[2]) for item in sorted(served, key=lambda item: -len(item[1]))]

    def around(self, answered: Exchange, exchange: Exchange) -> Exchange:
        """Return the exchange that an application's call answers. ``answered`` gets ordinary answers; ``exchange``,
        which is that or stands within it, gets files."""
        return HandOverExchange(answered, exchange, self)

    def find(self, block: bytes) -> tuple[StaticHandler, str, Extra] | None:
        """Return who serves the file that an answer's lines name, and what goes out beside its own lines.

        None = they name none. Raises ``LookupError`` where they name what is in no folder.
        """
        named = None
        lines = []
        content_type = b""
        for line in block.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            if name in _NAMES:
                if named is None:
                    named = self._accelerated(value.strip()) if name == _ACCEL else self._absolute(value.strip())
            elif name == b"content-type":
                content_type = value.strip()  # b"": how frameworks that always say one are made to leave it to us
            elif name not in _NOT_ITS_OWN and not name.startswith(b"x-accel-"):
                lines.append(line + b"\r\n")
        return None if named is None else (*named, Extra(b"".join(lines), content_type, False))

    def failed_late(self, reason: str) -> None:
        """The client gets its file all the same: nothing but the log can tell."""
        self._report("error", ("hand over", self._app), f"app {self._app} named a file, and then: {reason}")

    def _accelerated(self, value: bytes) -> tuple[StaticHandler, str]:
        """``value``: a path in percent-encoding as in a URL; a query is left aside."""
        raw = value.partition(b"?")[0]
        if not raw.isascii():
            raw = b"".join([b"%c" % byte if byte < 0x80 else b"%%%02X" % byte for byte in raw])
        try:
            path = decode_path(raw)
        except RequestError as error:
            raise LookupError(f"{_shown(value)}: {error.reason}") from None
        for prefix, handler in self._by_prefix:
            if path.startswith(prefix):
                return handler, path[len(prefix) :]
        raise LookupError(f"{_shown(value)} is below no prefix of hand_over")

    def _absolute(self, value: bytes) -> tuple[StaticHandler, str]:
        """``value``: a path of the file system, as it is."""
        path = value.decode("utf-8", "surrogateescape")
        for folder, handler in self._by_folder:
            if path.startswith(folder):
                return handler, path[len(folder) :]  # steps out of it are refused where it is opened
        raise LookupError(f"{_shown(value)} is below no folder of hand_over")


def _files_below(folder: str) -> Files:
    """Files and nothing else: with ``try`` a folder is not found instead of redirected to, and it has no index. A dot
    in front hides nothing from an application, which has chosen what it names."""
    return Files(folder, index=(), tries=("{path}",), dotfiles=True, precompressed=False)


def _names_file(block: bytes) -> bool:
    return b"x-accel-redirect:" in block or b"x-sendfile:" in block


def _shown(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


class HandOverExchange:
    """``over`` for the application as soon as it has named a file. What is left of the request's body still goes to it:
    it may want to read that before it ends."""

    __slots__ = ("_answered", "_exchange", "_hand_over", "_has_named", "modifiers", "request")

    def __init__(self, answered: Exchange, exchange: Exchange, hand_over: HandOver) -> None:
        self.request = answered.request
        self.modifiers = answered.modifiers
        self._answered = answered
        self._exchange = exchange
        self._hand_over = hand_over
        self._has_named = False

    @property
    def over(self) -> bool:
        return self._has_named or self._answered.over

    @property
    def started(self) -> float:
        return self._answered.started

    @property
    def peer_blob(self) -> bytes:
        return self._answered.peer_blob

    def attach(self, receiver: Receiver) -> None:
        self._answered.attach(receiver)

    def want_body(self) -> None:
        self._answered.want_body()

    def pause_body(self) -> None:
        self._answered.pause_body()

    def resume_body(self) -> None:
        self._answered.resume_body()

    def _ordinary(self, status: int, block: bytes) -> bytes | None:
        """Return the lines of an answer that is the application's own; None = it is a file's, and that goes out."""
        if self._has_named:
            return None
        if not _names_file(block):
            return block
        if not 200 <= status < 300:
            lines = block.split(b"\r\n")
            return b"\r\n".join([line for line in lines if line.partition(b":")[0] not in _NAMES])
        try:
            found = self._hand_over.find(block)
        except LookupError as error:
            self._has_named = True
            self._exchange.fail(500, f"the application names a file that it may not: {error}")
            return None
        if found is None:
            return block
        self._has_named = True
        handler, rest, extra = found
        handler.serve(self._exchange, rest, extra)
        return None

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        lines = self._ordinary(status, block)
        if lines is not None:
            self._answered.send(status, lines, body, flags, same)

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        lines = self._ordinary(status, block)
        if lines is not None:
            self._answered.send_head(status, lines, length, flags)

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        lines = self._ordinary(status, block)
        if lines is not None:
            self._answered.send_lent(status, lines, lent, offset, count, same)

    # For the application an exchange that has named a file is over: nothing of all this does anything then.

    def hint(self) -> None:
        if not self._has_named:
            self._answered.hint()

    def send_hints(self, block: bytes) -> None:
        if not self._has_named:
            self._answered.send_hints(block)

    def send_trailers(self, block: bytes) -> None:
        if not self._has_named:
            self._answered.send_trailers(block)

    def flush_soon(self) -> None:
        if not self._has_named:
            self._answered.flush_soon()

    def send_data(self, data: bytes) -> None:
        if not self._has_named:
            self._answered.send_data(data)

    def send_file(self, fd: int, offset: int, count: int) -> None:
        if not self._has_named:
            self._answered.send_file(fd, offset, count)

    @property
    def is_writable(self) -> bool:
        return self._has_named or self._answered.is_writable

    def finish(self) -> None:
        if not self._has_named:
            self._answered.finish()

    def at_end(self, callback: Callable[[], None]) -> None:
        self._answered.at_end(callback)

    def fail(self, status: int, reason: str, block: bytes = b"") -> str:
        if self._has_named:
            self._hand_over.failed_late(reason)
            return ""
        return self._answered.fail(status, reason, block)

    def abort(self) -> None:
        if not self._has_named:
            self._answered.abort()
