"""Step 4 of the request path: heads that were seen before, and what they mean (D3).

I/O: none. A bounded memo from the exact bytes of a body-less GET or HEAD head to its checked request, for those that
come twice running; and ready answers for heads of which line and kind were seen before. A front has one for everybody,
and one for its trusted proxies, where the same bytes mean something else: the client that they name.

HOT: one look-up for a head that is the same again, one more and a cut for one that varies (benchmarks/files_small.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.front.h1.repeat import Repeat
from pyserve.http.head import HeadReader
from pyserve.http.request import Memo, Request

if TYPE_CHECKING:
    from pyserve.http.h2.heads import BlockReader

MEMO_HEADS = 1024
MEMO_HEAD_BYTES = 2048
MEMO_ANSWER_BYTES = 32 * 1024 * 1024
"""Of all answers that are ready to be repeated."""

Ready = tuple[Repeat, Memo, Request]
"""The answer, what is kept beside the request line, and a request with the same fields but for what varies."""


class Heads:
    """``known``: raw heads to requests; ask it first."""

    __slots__ = ("_answer_bytes", "_blocks", "_can_repeat", "_last", "_reader", "known")

    def __init__(self, reader: HeadReader, can_repeat: bool) -> None:
        """``can_repeat``: may an answer be kept ready (``front.h1.repeat``)?"""
        self._reader = reader
        self._can_repeat = can_repeat
        self._answer_bytes = 0
        self._last = b""
        self._blocks: BlockReader | None = None
        self.known: dict[bytes, Request] = {}

    def read(self, raw: bytes) -> Request:
        """Return the canonical request of a raw head; raise ``RequestError``."""
        request = self.known.get(raw)
        if request is None:
            request = self._reader.read(raw)
            if not self._can_repeat:
                request.kind = None
        return request

    def look_up(self, raw: bytes, now: float) -> Ready | Request | None:
        """Return a ready answer that holds at ``now``, or the canonical request; raise ``RequestError``.

        ``raw`` ends with an empty line; None = that is not the first one in it.
        """
        reader = self._reader
        parts = reader.take_apart(raw)
        if parts[3] is None and raw.find(b"\r\n\r\n") != len(raw) - 4:
            return None  # what is known has no empty line in it, so there it need not be looked for
        kind = parts[4]
        if kind is not None and self._can_repeat:
            memo = reader.line_memo(parts[0])
            if memo is not None:
                repeat = memo.get(kind)
                if repeat is not None and (repeat.same.fresh_until_s > now or repeat.same.renew()):
                    if raw == self._last:
                        self._remember(raw, reader.read_parts(raw, parts))
                    self._last = raw
                    return repeat, memo, parts[3].request  # type: ignore[union-attr]
        request = reader.read_parts(raw, parts)
        if not self._can_repeat:
            request.kind = None
        if raw == self._last:
            self._remember(raw, request)
        self._last = raw
        return request

    def _remember(self, raw: bytes, request: Request) -> None:
        if request.has_body or len(raw) > MEMO_HEAD_BYTES or request.method not in ("GET", "HEAD"):
            return
        if len(self.known) >= MEMO_HEADS:
            self.known.clear()  # LIMIT: a bounded memo; refilled at the price of one look at each head
        if request.kind is None and self._can_repeat:
            request.kind = object()  # equal in every byte
        self.known[raw] = request

    def blocks(self, max_head_bytes: int, *, enable_connect: bool) -> BlockReader:
        """Return what reads the heads of HTTP/2; made when the first connection asks for it."""
        if self._blocks is None:
            from pyserve.http.h2.heads import BlockReader

            self._blocks = BlockReader(
                self._reader, max_head_bytes, can_repeat=self._can_repeat, enable_connect=enable_connect
            )
        return self._blocks

    def count_answer(self, growth: int) -> None:
        """What is kept ready has grown by so many bytes."""
        self._answer_bytes += growth
        if self._answer_bytes > MEMO_ANSWER_BYTES:
            self.known.clear()
            self._reader.forget_lines()
            if self._blocks is not None:
                self._blocks.forget()
            self._answer_bytes = 0
