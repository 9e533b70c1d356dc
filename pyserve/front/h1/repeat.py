"""Step 6 of the request path: an answer that is known to be the same for equal requests, ready to be sent again.

I/O: none. A handler says how long its answer holds (``Exchange.send`` with ``same``); as long as that a connection
sends it again to every request with an equal line and of the same kind (``Request.kind``) without asking anybody.
Rebuilt once per sweep, for Date.

HOT: small files and fixed answers cost one look-up, one write and one log line (benchmarks/files_small.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.handlers.interface import Lent, Same
from pyserve.http.request import Request
from pyserve.http.response import STATUS_LINES, end_of_head

if TYPE_CHECKING:
    from pyserve.front.context import Context
    from pyserve.front.heads import Heads

OWN_BYTES = 512  # what a kept answer costs beside its bytes, roughly


class Repeat:
    """``length``: Content-Length, -1 = none goes out. ``lent``: the body is a piece of this file, ``data`` the head."""

    __slots__ = ("_block", "_body", "_flags", "data", "length", "lent", "logged", "offset", "same", "status", "turn")

    def __init__(
        self,
        status: int,
        block: bytes,
        length: int,
        body: bytes,
        same: Same,
        flags: int,
        lent: Lent | None = None,
        offset: int = 0,
    ) -> None:
        """``body``: what is sent (none for HEAD). ``flags``: HAS_DATE, HAS_SERVER of ``wire.codec``."""
        self.status = status
        self._block = block
        self.length = length
        self._body = body
        self._flags = flags
        self.lent = lent
        self.offset = offset
        self.same = same
        self.turn = 0
        self.data = b""
        self.logged = b"%d %d" % (status, len(body) if lent is None else length)
        """Status and bytes, as they stand in the log."""

    def keep(self, request: Request, heads: Heads) -> None:
        """Put it where the next equal request finds it."""
        memo = request.line_memo
        before = memo.get(request.kind)
        heads.count_answer(OWN_BYTES if before is None else -len(before.data))
        memo[request.kind] = self

    def refresh(self, context: Context, heads: Heads) -> None:
        """Make the bytes of this turn of the sweep's clock."""
        self.turn = context.turn
        before = len(self.data)
        end = b"\r\n" if self.length < 0 else end_of_head(self.length)
        self.data = b"".join((STATUS_LINES[self.status], self._block, context.common[self._flags], end, self._body))
        heads.count_answer(len(self.data) - before)
