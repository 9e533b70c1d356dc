"""What all connections of a front share: configuration, clocks, memo, logs, counters.

I/O: none of its own; it holds the objects that have it. A reload swaps values in here.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pyserve.config.model import Limits
from pyserve.errors import RequestError
from pyserve.front.heads import Heads
from pyserve.front.realm import Realm
from pyserve.front.threads import build_lanes
from pyserve.handlers.interface import Handler, Lanes
from pyserve.http.conditional import format_date
from pyserve.http.head import FieldParser, HeadReader
from pyserve.observe.access_log import AccessLog
from pyserve.observe.error_log import ErrorLog
from pyserve.observe.sink import LineSink
from pyserve.routing.router import Router
from pyserve.wire.codec import HAS_DATE, HAS_SERVER

if TYPE_CHECKING:
    from pyserve.front.accepting import Acceptor
    from pyserve.front.tls.handshakes import Handshakes
    from pyserve.http.forwarded import TrustedProxies
    from pyserve.http.h2.sending import Settings

NEVER = 1 << 62


class Client(Protocol):
    """A connection as its front sees it."""

    deadline: float

    @property
    def is_sheddable(self) -> bool:
        """Is it idle, so that closing it loses nothing?"""

    def close_idle(self) -> None: ...
    def sweep(self, now: float) -> None: ...
    def drain(self) -> None: ...
    def abort(self) -> None: ...


def _nowhere(line: bytes) -> None:
    pass


class Context:
    """One per front. ``now`` is the monotonic clock as of the last sweep: good enough for every deadline (D4)."""

    __slots__ = (
        "_can_repeat",
        "_h2_settings",
        "_parse",
        "_tick",
        "acceptor",
        "common",
        "connections",
        "crowd",
        "error_log",
        "handshakes",
        "heads",
        "idle_deadline",
        "is_draining",
        "is_shut",
        "lanes",
        "limits",
        "log",
        "log_line",
        "log_repeated",
        "loop",
        "now",
        "proxies",
        "realm",
        "repeated",
        "requests",
        "sending",
        "sink",
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
        proxies: TrustedProxies | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        self.loop = loop
        self.lanes = lanes or build_lanes(loop)
        self.limits = limits
        self._h2_settings: Settings | None = None
        self.proxies = proxies
        self._parse = parse
        self._can_repeat = access is None or access.can_repeat
        self.realm = self.make_realm(router)
        self.heads = self.realm.heads
        self.handshakes: Handshakes | None = None
        self.error_log = error_log
        self.sink = sink
        # HOT: bound once; ``log_line`` None = no access log
        self._tick = None if access is None else access.tick
        self.log_repeated = None if access is None or sink is None else access.repeated
        self.log_line = None if access is None or sink is None else access.line
        self.log: Callable[[bytes], None] = _nowhere if sink is None else sink.write
        self.connections: set[Client] = set()
        self.acceptor: Acceptor | None = None
        self.crowd = NEVER  # with so many connections the acceptor wants to know of each new one
        self.is_shut = False  # it accepts none, and wants to know when one ends
        self.requests = 0
        self.repeated = 0  # of them, answered with an answer that was ready
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

    @property
    def h2_settings(self) -> Settings:
        """Return what HTTP/2 connections begin with; made when the first one asks."""
        if self._h2_settings is None:
            from pyserve.http.h2.sending import Settings

            limits = self.limits
            self._h2_settings = Settings(
                max_concurrent_streams=limits.max_streams,
                enable_connect=True,
                head_timeout_s=limits.head_timeout_s,
                write_timeout_s=limits.write_timeout_s,
                min_rate_bytes=limits.min_rate_bytes,
            )
        return self._h2_settings

    def make_realm(self, router: Router[Handler], may_reach: Callable[[str], str] | None = None) -> Realm:
        """Return memos of their own for a kind of connection; see ``Realm``."""
        most = self.limits.max_headers
        heads = trusted_heads = Heads(HeadReader(self._parse, most), self._can_repeat)
        if self.proxies is not None:
            # Their answers are not repeated: the line of the log names the client, which every head says anew.
            trusted_heads = Heads(HeadReader(self._parse, most, self.proxies), can_repeat=False)
        return Realm(router, heads, trusted_heads, may_reach)

    def add(self, connection: Client) -> None:
        """A connection was made."""
        self.connections.add(connection)
        if len(self.connections) >= self.crowd and self.acceptor is not None:
            self.acceptor.crowded()

    def forget(self, connection: Client) -> None:
        """A connection is lost."""
        self.connections.discard(connection)
        if self.is_shut and self.acceptor is not None:
            self.acceptor.left()

    def sweep(self) -> None:
        """Let the connections act on what is overdue."""
        for connection in list(self.connections):
            try:
                connection.sweep(self.now)
            except Exception:
                # Our own bug: this connection is cut. What is swept behind it, and ever after, must not suffer by it.
                self.incident(f"internal error\n{traceback.format_exc()}")
                connection.abort()

    def refused(self, client: bytes, error: RequestError) -> None:
        """Say why a request was refused; a storm of them is a line a second for each status."""
        self.error_log.seldom("info", error.status, f"refused {client.decode()}: {error.status} {error.reason}")

    def incident(self, line: str) -> None:
        """Write an error that has an owner other than the client."""
        self.error_log.error(line)

    def busy(self, whose: str, line: str) -> bool:
        """Say that a client was asked to come again later, a line a second for each application: an overload must not
        fill the disk as well. Returns whether this one was said.
        """
        return self.error_log.seldom("error", whose, line)
