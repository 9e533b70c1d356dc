"""Steps 4 to 6 of the request path: what every exchange keeps, whichever protocol its request came by.

I/O: none of its own. The books of an exchange are closed once: its log line, its counters, the callbacks of who lent
something. Error pages are chosen here. How bytes are framed is the business of the exchange of each protocol.

HOT: ``close_books`` ends every request (benchmarks/hello_asgi.py, files_small.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pyserve.handlers.interface import Exchange, Receiver, Same
from pyserve.handlers.modifiers import PLAIN, asks_for_page
from pyserve.http.request import Request
from pyserve.http.response import ERROR_BLOCK, error_page

if TYPE_CHECKING:
    from pyserve.front.context import Context
    from pyserve.http.forwarded import Forwarded

DROP_BODY_BYTES = 256 * 1024
"""After an early answer: so much of the unread body is read on for the sake of the connection."""
CLIENT_LEFT = 499
"""In the log only, as nginx writes it: the client left before it had an answer."""


class Carrier(Protocol):
    """The connection of an exchange, as its books see it."""

    context: Context
    client: bytes
    known_peer: bytes

    def peer_blob(self) -> bytes: ...
    def forwarded_peer(self, forwarded: Forwarded, authority: str) -> bytes: ...


class Books:
    """Base of ``Exchange`` (HTTP/1) and ``H2Exchange``.

    ``will_close``: the connection ends with this answer; of HTTP/1, where one carries one answer after the other.
    """

    __slots__ = (
        "_at_end",
        "_is_finishing",
        "body_is_paused",
        "body_is_read",
        "connection",
        "modifiers",
        "over",
        "receiver",
        "request",
        "sent_bytes",
        "started",
        "status",
        "waits_for_continue",
        "will_close",
    )

    connection: Carrier

    def __init__(self, connection: Carrier, request: Request) -> None:
        self.connection = connection
        self.request = request
        self.started = monotonic()
        self.over = False
        self.receiver: Receiver | None = None
        self.modifiers = PLAIN
        self.status = 0
        self.sent_bytes = 0
        self.will_close = False
        self.body_is_read = False
        self.body_is_paused = False
        self.waits_for_continue = request.expects_continue
        self._at_end: list[Callable[[], None]] | None = None
        self._is_finishing = False

    @property
    def peer_blob(self) -> bytes:
        forwarded = self.request.forwarded
        if forwarded is not None:
            return self.connection.forwarded_peer(forwarded, self.request.authority)
        return self.connection.known_peer or self.connection.peer_blob()

    @property
    def client(self) -> bytes:
        """Whose request it is, for the log."""
        forwarded = self.request.forwarded
        if forwarded is not None and forwarded.client is not None:
            return forwarded.client[0].encode()
        return self.connection.client

    def attach(self, receiver: Receiver) -> None:
        self.receiver = receiver

    # What each protocol does in its own way.

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        raise NotImplementedError

    def pause_body(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    @property
    def has_begun(self) -> bool:
        """Has anything of the answer gone?"""
        raise NotImplementedError

    def _write_hints(self, lines: bytes) -> None:
        raise NotImplementedError

    def _replace(self) -> Books:
        """Return another exchange for the same request, in the place of this one."""
        raise NotImplementedError

    # Hints.

    def hint(self) -> None:
        """Send 103 Early Hints if the config has any."""
        self._hint(self.modifiers.hints)

    def send_hints(self, block: bytes) -> None:
        if asks_for_page(self.request):
            self._hint(self.modifiers.strip(block) if self.modifiers.dropped else block)

    def _hint(self, lines: bytes) -> None:
        """Only for GET: nothing else asks for a page, and no client that waits for 100 Continue gets another word
        first."""
        request = self.request
        if lines and not (self.over or self.status or request.has_body) and request.method == "GET":
            self._write_hints(lines)

    # Failures.

    def fail(self, status: int, reason: str, block: bytes = b"") -> str:
        if self.over:
            return ""
        incident = ""
        if status >= 500:
            incident = os.urandom(5).hex()
            line = f"{incident} {status} {self.request.method} {self.request.raw_target.decode('latin-1')}: {reason}"
            if status == 503 and block:  # Retry-After: there may be thousands of them a second
                if not self.connection.context.busy(reason.partition(":")[0], line):
                    incident = ""  # nobody would find it
            else:
                self.connection.context.incident(line)
        if self.has_begun:
            self.abort()
            return incident
        pages = self.modifiers.pages
        page = pages.get(status) if pages is not None else None
        if page is None:
            self.send(status, ERROR_BLOCK + block, error_page(status, incident))
        else:
            page.answer(self, status, block, incident)  # type: ignore[arg-type]  # each subclass is a whole one
        return incident

    def renew(self) -> Exchange:
        """End for everybody who has a hand in this; return one in its place, for the same request and its log line."""
        other = self._replace()
        other.started = self.started
        other.modifiers = self.modifiers.without_pages()
        other.will_close = self.will_close
        other.body_is_read = self.body_is_read
        other.waits_for_continue = self.waits_for_continue
        self.over = True
        self._call_at_end()
        self.receiver = None
        if self.request.has_body and not self.body_is_read:
            other.pause_body()  # nobody takes it any more: what is to become of it is decided with the answer
        return other  # type: ignore[return-value]

    # The exit door.

    def at_end(self, callback: Callable[[], None]) -> None:
        if self.over:
            callback()
        elif self._at_end is None:
            self._at_end = [callback]
        else:
            self._at_end.append(callback)

    def close_books(self) -> None:
        self.over = True
        # Who answers knows this exchange, and so its connection: without a cycle all of them are freed at once, and not
        # when the collector comes to it. That of an encrypted connection holds 45 KB which it does not even count.
        self.receiver = None
        connection = self.connection
        context = connection.context
        context.requests += 1
        if context.log_line is not None:
            context.log(
                context.log_line(
                    connection.client if self.request.forwarded is None else self.client,
                    self.request,
                    self.status or CLIENT_LEFT,
                    self.sent_bytes,
                    monotonic() - self.started,
                )
            )
        if self._at_end is not None:
            self._call_at_end()

    def _call_at_end(self) -> None:
        if self._at_end is not None:
            callbacks, self._at_end = self._at_end, None
            for callback in callbacks:
                callback()

    def client_left(self) -> None:
        """Nothing more can be sent."""
        if not self.over:
            receiver = self.receiver
            self.close_books()
            if receiver is not None:
                receiver.client_gone()
