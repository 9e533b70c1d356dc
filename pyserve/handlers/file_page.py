"""Step 6 of the request path: an error page of the operator's own, from a file.

I/O: one small local file that the config names, read on the loop's own thread when it is first needed and when it has
changed. The invariants: the client gets the status of its failure whatever became of the file; a change is seen within
a second; a missing file costs one look and one line of the log in that time, however many requests fail.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from pyserve.files.entry import Signature, is_settled, signature_of
from pyserve.files.media_types import content_type
from pyserve.files.opening import open_single
from pyserve.handlers.interface import Exchange
from pyserve.http.response import ERROR_BLOCK, error_page

MAX_PAGE_BYTES = 1024 * 1024
FRESH_S = 0.7
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

Report = Callable[[str, object, str], object]
"""Level, kind and text, as of ``observe.error_log.ErrorLog.seldom``."""


class FilePage:
    """``{status}`` and ``{incident}`` in an HTML page stand for those of the failure; they need no escaping there."""

    __slots__ = (
        "_block",
        "_body",
        "_clock",
        "_fresh_until_s",
        "_has_places",
        "_is_html",
        "_is_settled",
        "_path",
        "_report",
        "_signature",
        "_wall_ns",
    )

    def __init__(
        self,
        path: str,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        media_type = content_type(path)
        self._path = path
        self._is_html = media_type.startswith("text/html")
        self._block = b"content-type: %b\r\ncache-control: no-store\r\n" % media_type.encode("ascii")
        self._report = report
        self._clock = clock
        self._wall_ns = wall_ns
        self._body: bytes | None = None
        self._has_places = False
        self._is_settled = False
        self._signature: Signature | None = None
        self._fresh_until_s = float("-inf")

    def answer(self, exchange: Exchange, status: int, block: bytes, incident: str) -> None:
        now_s = self._clock()
        if self._fresh_until_s < now_s:
            self._fresh_until_s = now_s + FRESH_S
            self._look()
        body = self._body
        if body is None:
            exchange.send(status, ERROR_BLOCK + block, error_page(status, incident))
            return
        if self._has_places:
            body = body.replace(b"{status}", b"%d" % status).replace(b"{incident}", incident.encode())
        exchange.send(status, self._block + block, body)

    def _look(self) -> None:
        try:
            if not self._is_unchanged():
                self._load()
        except OSError as error:
            if self._body is not None and error.errno in _NO_DESCRIPTORS:
                return  # what is at hand is better than nothing
            self._body = None
            why = error.strerror or str(error)
            self._report("error", ("error page", self._path), f"error page {self._path}: {why}: sent the built-in one")

    def _is_unchanged(self) -> bool:
        return self._body is not None and self._is_settled and signature_of(os.stat(self._path)) == self._signature

    def _load(self) -> None:
        with open(open_single(os.fsencode(self._path)), "rb") as file:
            # Taken before the bytes: what is written meanwhile shows at the next look.
            status = os.fstat(file.fileno())
            body = file.read(MAX_PAGE_BYTES + 1)
        if len(body) > MAX_PAGE_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_PAGE_BYTES} bytes")
        self._signature = signature_of(status)
        self._is_settled = is_settled(status, self._wall_ns())
        self._has_places = self._is_html and (b"{status}" in body or b"{incident}" in body)
        self._body = body
