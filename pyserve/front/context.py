"""What all connections of a front share: configuration, clocks, memo, logs, counters.

I/O: none of its own; it holds the objects that have it. A reload swaps values in here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyserve.config.model import Limits
from pyserve.front.repeat import Repeat
from pyserve.handlers.interface import Handler
from pyserve.http.conditional import format_date
from pyserve.http.head import FieldParser, HeadReader
from pyserve.http.request import Request
from pyserve.observe.access_log import AccessLog
from pyserve.observe.error_log import ErrorLog
from pyserve.observe.sink import LineSink
from pyserve.routing.router import Router
from pyserve.wire.codec import HAS_DATE, HAS_SERVER

if TYPE_CHECKING:
    from pyserve.front.connection import Connection

MEMO_HEADS = 4096
_SIGHTS = 1 << 16
MEMO_HEAD_BYTES = 2048
MEMO_ANSWER_BYTES = 32 * 1024 * 1024
"""Of all answers that are ready to be repeated: each head has a copy of its own."""


def _nowhere(line: bytes) -> None:
    pass


class Context:
    """One per front. ``now`` is the monotonic clock as of the last sweep: good enough for every deadline (D4)."""

    __slots__ = (
        "_answer_bytes",
        "_can_repeat",
        "_reader",
        "_seen",
        "_sights",
        "_tick",
        "common",
        "connections",
        "error_log",
        "heads",
        "idle_deadline",
        "is_draining",
        "limits",
        "log",
        "log_line",
        "loop",
        "now",
        "requests",
        "router",
        "sending",
        "sink",
        "template",
        "turn",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        router: Router[Handler],
        parse: FieldParser,
        error_log: ErrorLog,
        access: AccessLog | None,
        sink: LineSink | None,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.router = router
        self._reader = HeadReader(parse, limits.max_headers)
        self.error_log = error_log
        self.sink = sink
        # HOT: bound once; ``log_line`` None = no access log
        self._tick = None if access is None else access.tick
        self.template = None if access is None else access.template
        self._can_repeat = access is None or access.has_templates
        self.log_line = None if access is None or sink is None else access.line
        self.log: Callable[[bytes], None] = _nowhere if sink is None else sink.write
        self.connections: set[Connection] = set()
        self.heads: dict[bytes, Request] = {}
        self._sights = bytearray(_SIGHTS)
        self._seen = 0
        self._answer_bytes = 0
        self.requests = 0
        self.sending = 0  # connections with a file under way
        self.is_draining = False
        self.now = time.monotonic()
        self.turn = 0
        self.idle_deadline = 0.0
        self.common: dict[int, bytes] = {}
        self.refresh_date()

    def refresh_date(self) -> None:
        """Every sweep: the log's clock, and the Date and Server lines by what the application brings itself."""
        self.turn += 1
        self.idle_deadline = self.now + self.limits.keepalive_timeout_s
        if self._tick is not None:
            self._tick(time.time())
        date = b"date: " + format_date(time.time()) + b"\r\n"
        server = b"server: pyserve\r\n"
        self.common = {0: date + server, HAS_DATE: server, HAS_SERVER: date, HAS_DATE | HAS_SERVER: b""}

    def read_head(self, raw: bytes) -> Request:
        """Return the canonical request of a raw head, from the memo where it was seen before (D3).

        Raise ``RequestError``.
        """
        request = self.heads.get(raw)
        if request is None:
            request = self._reader.read(raw)
            if request.method in ("GET", "HEAD") and not request.has_body and len(raw) <= MEMO_HEAD_BYTES:
                self._remember(raw, request)
        return request

    def _remember(self, raw: bytes, request: Request) -> None:
        """Keep a head from its second sight on: most heads of varied traffic never come again."""
        sight = hash(raw) & (_SIGHTS - 1)
        if not self._sights[sight]:
            self._sights[sight] = 1
            self._seen += 1
            if self._seen > _SIGHTS // 4:  # half full of chance hits: begin again
                self._sights = bytearray(_SIGHTS)
                self._seen = 0
            return
        if len(self.heads) >= MEMO_HEADS:
            self._forget_heads()
        if self._can_repeat:
            request.repeat = Repeat()
        self.heads[raw] = request

    def _forget_heads(self) -> None:
        """LIMIT: a bounded memo; refilled at the price of one parse per head."""
        self.heads.clear()
        self._answer_bytes = 0

    def count_answer(self, growth: int) -> None:
        """A remembered head has an answer ready that is so many bytes longer than the one before."""
        self._answer_bytes += growth
        if self._answer_bytes > MEMO_ANSWER_BYTES:
            self._forget_heads()

    def incident(self, line: str) -> None:
        """Write an error that has an owner other than the client."""
        self.error_log.error(line)
