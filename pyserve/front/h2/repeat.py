"""Step 6 of the request path: an answer of HTTP/2 that is known to be the same for equal requests (``h1.repeat``).

I/O: none. Rebuilt once per sweep, for Date.

HOT: small files and fixed answers cost one look-up and one log line (benchmarks/h2_files.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.front.h1.repeat import OWN_BYTES
from pyserve.handlers.interface import Same
from pyserve.http.h2.hpack import encode_head
from pyserve.http.request import Request

if TYPE_CHECKING:
    from pyserve.front.context import Context
    from pyserve.front.heads import Heads


class H2Repeat:
    """``data``: a block of fields that means the same on every connection; ``body``: what follows it."""

    __slots__ = ("_block", "_flags", "_length", "body", "data", "logged", "same", "status", "turn")

    def __init__(self, status: int, block: bytes, length: int, body: bytes, same: Same, flags: int) -> None:
        self.status = status
        self._block = block
        self._length = length
        self.body = body
        self.same = same
        self._flags = flags
        self.turn = 0
        self.data = b""
        self.logged = b"%d %d" % (status, len(body))

    def keep(self, request: Request, heads: Heads) -> None:
        """Put it where the next equal request finds it."""
        memo = request.line_memo
        before = memo.get(request.kind)
        kept = 0 if before is None else len(before.data) + len(before.body) + OWN_BYTES
        heads.count_answer(OWN_BYTES + len(self.body) - kept)
        memo[request.kind] = self

    def refresh(self, context: Context, heads: Heads) -> None:
        """Make the fields of this turn of the sweep's clock."""
        self.turn = context.turn
        before = len(self.data)
        self.data = encode_head(self.status, self._block, context.common[self._flags], self._length)
        heads.count_answer(len(self.data) - before)
