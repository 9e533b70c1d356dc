"""Step 6 of the request path: an answer that is known to be the same for an equal head, ready to be sent again.

I/O: none. A handler says how long its answer holds (``Exchange.send`` with ``same_until``); until then a connection
sends it again for the same raw head without asking anybody. Rebuilt once per sweep, for Date and the log's clock.

HOT: small files and fixed answers cost one look-up, one write and one log line (benchmarks/files_small.py, frozen).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.handlers.interface import Lent
from pyserve.http.request import Request
from pyserve.http.response import STATUS_LINES, end_of_head

if TYPE_CHECKING:
    from pyserve.front.context import Context


class Repeat:
    """Made with the remembered head (``Context``), filled by its first answer. ``until`` 0 = nothing to repeat."""

    __slots__ = ("_block", "_body", "_flags", "data", "length", "lent", "log", "offset", "status", "turn", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.turn = 0
        self.data = b""
        self.log: bytes | None = None
        self.lent: Lent | None = None

    def keep(self, status: int, block: bytes, length: int, body: bytes, until: float, flags: int = 0) -> None:
        """Take an answer: ``length`` is Content-Length (-1 = none goes out), ``body`` what is sent (none for HEAD).

        ``flags``: HAS_DATE, HAS_SERVER of ``wire.codec``.
        """
        self.status = status
        self._block = block
        self.length = length
        self._body = body
        self._flags = flags
        self.lent = None
        self.until = until
        self.turn = 0

    def keep_file(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, until: float, flags: int = 0
    ) -> None:
        """Take an answer whose body is a piece of a file: ``data`` is its head."""
        self.keep(status, block, count, b"", until, flags)
        self.lent = lent
        self.offset = offset

    def refresh(self, context: Context, request: Request) -> None:
        """Make the bytes and the log line of this turn of the sweep's clock."""
        self.turn = context.turn
        before = len(self.data)
        end = b"\r\n" if self.length < 0 else end_of_head(self.length)
        self.data = b"".join((STATUS_LINES[self.status], self._block, context.common[self._flags], end, self._body))
        context.heads.count_answer(len(self.data) - before)
        self.log = (
            context.template(request, self.status, len(self._body) if self.lent is None else self.length)
            if context.template is not None
            else None
        )
