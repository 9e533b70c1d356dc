"""Step 4 of the request path: heads that were seen before, and what they mean (D3).

I/O: none. A bounded memo from the exact bytes of a body-less GET or HEAD head to its checked request, from its second
sight on: most heads of varied traffic never come again. A front has one for everybody, and one for its trusted proxies,
where the same bytes mean something else: the client that they name.

HOT: one look-up per request (benchmarks/files_small.py, frozen).
"""

from __future__ import annotations

from pyserve.front.repeat import Repeat
from pyserve.http.head import HeadReader
from pyserve.http.request import Request

MEMO_HEADS = 4096
_SIGHTS = 1 << 16
MEMO_HEAD_BYTES = 2048
MEMO_ANSWER_BYTES = 32 * 1024 * 1024
"""Of all answers that are ready to be repeated: each head has a copy of its own."""


class Heads:
    """``known``: raw heads to requests; ask it first."""

    __slots__ = ("_answer_bytes", "_can_repeat", "_reader", "_seen", "_sights", "known")

    def __init__(self, reader: HeadReader, can_repeat: bool) -> None:
        """``can_repeat``: may a remembered head have a ready answer (``front.repeat``)?"""
        self._reader = reader
        self._can_repeat = can_repeat
        self._sights = bytearray(_SIGHTS)
        self._seen = 0
        self._answer_bytes = 0
        self.known: dict[bytes, Request] = {}

    def read(self, raw: bytes) -> Request:
        """Return the canonical request of a raw head; raise ``RequestError``."""
        request = self.known.get(raw)
        if request is None:
            request = self._reader.read(raw)
            if not request.has_body and len(raw) <= MEMO_HEAD_BYTES and request.method in ("GET", "HEAD"):
                self._remember(raw, request)
        return request

    def _remember(self, raw: bytes, request: Request) -> None:
        sight = hash(raw) & (_SIGHTS - 1)
        if not self._sights[sight]:
            self._sights[sight] = 1
            self._seen += 1
            if self._seen > _SIGHTS // 4:  # half full of chance hits: begin again
                self._sights = bytearray(_SIGHTS)
                self._seen = 0
            return
        if len(self.known) >= MEMO_HEADS:
            self._forget()
        if self._can_repeat:
            request.repeat = Repeat()
        self.known[raw] = request

    def _forget(self) -> None:
        """LIMIT: a bounded memo; refilled at the price of one parse per head."""
        self.known.clear()
        self._answer_bytes = 0

    def count_answer(self, growth: int) -> None:
        """A remembered head has an answer ready that is so many bytes longer than the one before."""
        self._answer_bytes += growth
        if self._answer_bytes > MEMO_ANSWER_BYTES:
            self._forget()
