"""Step 6 of the request path: an application names a file instead of sending it (``X-Accel-Redirect``, ``X-Sendfile``).

I/O: through ``handlers.static``. The front opens the file, so it serves only what the config allows, and no link out of
that. It stands between an application's call and the exchange: an answer that names a file is over for the application
at once, and goes on as that file's, with ranges, conditions and ``sendfile``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyserve.config.model import Files
from pyserve.errors import RequestError
from pyserve.files.cache import FileCache
from pyserve.handlers.interface import Exchange, Lanes, Lent, Receiver, Same
from pyserve.handlers.static import Extra, StaticHandler
from pyserve.http.target import decode_path

_ACCEL = b"x-accel-redirect"
_SENDFILE = b"x-sendfile"
# What an application can't know of a file that it does not read, and what was for us alone.
_NOT_ITS_OWN = frozenset(
    (b"etag", b"last-modified", b"accept-ranges", b"content-range", b"content-encoding", _SENDFILE)
)


class HandOver:
    """The folders of one application's ``hand_over``: path prefixes to folders."""

    __slots__ = ("_folders",)

    def __init__(self, folders: Sequence[tuple[str, str]], cache: FileCache, lanes: Lanes) -> None:
        # The longest prefix is the nearest one.
        self._folders = [
            # What it names it has chosen: a dot in front hides nothing from it.
            (prefix, folder, StaticHandler(Files(folder, dotfiles=True, precompressed=False), cache, lanes))
            for prefix, folder in sorted(folders, key=lambda item: -len(item[0]))
        ]

    def around(self, answered: Exchange, exchange: Exchange) -> Exchange:
        """Return the exchange that an application's call answers. ``answered`` gets ordinary answers; ``exchange``,
        which is that or stands within it, gets files."""
        return HandOverExchange(answered, exchange, self)

    def find(self, block: bytes) -> tuple[StaticHandler, str, Extra] | None:
        """Return who serves the file that an answer's lines name, and what goes out beside its own lines.

        None = they name none. Raises ``LookupError`` where they name what is in no folder.
        """
        if b"x-accel-redirect:" not in block and b"x-sendfile:" not in block:
            return None
        named = None
        lines = []
        for line in block.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name in (_ACCEL, _SENDFILE) and named is None:
                named = self._accelerated(value.strip()) if name == _ACCEL else self._absolute(value.strip())
            if line and name not in _NOT_ITS_OWN and not name.startswith(b"x-accel-"):
                lines.append(line + b"\r\n")
        if named is None:
            return None
        has_type = any(line.startswith(b"content-type:") for line in lines)
        return *named, Extra(b"".join(lines), has_type, False)

    def _accelerated(self, value: bytes) -> tuple[StaticHandler, str]:
        """``value``: a path in percent-encoding as in a URL; a query is left aside."""
        raw = value.partition(b"?")[0]
        try:
            path = decode_path(b"".join(bytes((byte,)) if byte < 0x80 else b"%%%02X" % byte for byte in raw))
        except RequestError as error:
            raise LookupError(f"{value!r}: {error.reason}") from None
        for prefix, _, handler in self._folders:
            if path.startswith(prefix + "/"):
                return handler, path[len(prefix) + 1 :]
        raise LookupError(f"{path} is below no prefix of hand_over")

    def _absolute(self, value: bytes) -> tuple[StaticHandler, str]:
        """``value``: a path of the file system, as it is."""
        path = value.decode("utf-8", "surrogateescape")
        for _, folder, handler in self._folders:
            if path.startswith(folder + "/"):
                return handler, path[len(folder) + 1 :]  # steps out of it are refused where it is opened
        raise LookupError(f"{path} is below no folder of hand_over")


class HandOverExchange:
    """``over`` for the application as soon as it has named a file."""

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

    def _is_file(self, status: int, block: bytes) -> bool:
        """Answer with the file that the lines name; False if they name none."""
        if self.over:
            return True
        try:
            found = self._hand_over.find(block) if 200 <= status < 300 else None
        except LookupError as error:
            self._has_named = True
            self._exchange.fail(500, f"the application hands over a file that it may not: {error}")
            return True
        if found is None:
            return False
        self._has_named = True
        handler, rest, extra = found
        handler.serve(self._exchange, rest, extra)
        return True

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if not self._is_file(status, block):
            self._answered.send(status, block, body, flags, same)

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if not self._is_file(status, block):
            self._answered.send_head(status, block, length, flags)

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        if not self._is_file(status, block):
            self._answered.send_lent(status, block, lent, offset, count, same)

    # For the application an exchange that has named a file is over: nothing of all this does anything then.

    def hint(self) -> None:
        if not self._has_named:
            self._answered.hint()

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

    def fail(self, status: int, reason: str, block: bytes = b"") -> None:
        if not self._has_named:
            self._answered.fail(status, reason, block)

    def abort(self) -> None:
        if not self._has_named:
            self._answered.abort()
