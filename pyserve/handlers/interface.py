"""The seam between a transport and a handler (D2). Pure.

A transport (HTTP/1 or HTTP/2, in clear text or over TLS) makes an ``Exchange`` of each request and calls
``Handler.handle``; the handler answers by plain calls, at once or later. Nothing here awaits. Every exchange ends
exactly once: ``finish``, ``abort``, or the client left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from pyserve.handlers.modifiers import Modifiers
from pyserve.http.request import Request
from pyserve.routing.router import Match

T = TypeVar("T")


class Receiver(Protocol):
    """Who takes the request's body and wants to know what becomes of the client.

    All calls come from the transport.
    """

    def body_data(self, data: bytes) -> None: ...
    def body_end(self) -> None: ...
    def client_half_closed(self) -> None:
        """The client sends nothing more; it may still read the answer."""

    def client_gone(self) -> None:
        """The exchange is over and already logged: let go of everything."""

    def on_writable(self) -> None:
        """The transport takes bytes again after ``is_writable`` was False."""


class Lent(Protocol):
    """An open file that a handler lends: ``fd`` stays open while it is retained, -1 = closed."""

    fd: int

    def retain(self) -> None: ...
    def release(self) -> None: ...


class Same(Protocol):
    """How long an answer stays the same."""

    fresh_until_s: float
    """Monotonic: it holds until then."""

    def renew(self) -> bool:
        """Look again whether it holds; cheap, and nothing is waited for. False: ask the handler."""


class _Forever:
    fresh_until_s = float("inf")

    def renew(self) -> bool:
        return True


FOREVER: Same = _Forever()


class Exchange(Protocol):
    request: Request
    modifiers: Modifiers

    @property
    def over(self) -> bool:
        """True once it has ended; every call after that does nothing."""

    @property
    def started(self) -> float:
        """Monotonic: when the request's head was here."""

    @property
    def peer_blob(self) -> bytes:
        """``wire.codec.Peer`` of the connection, packed."""

    def attach(self, receiver: Receiver) -> None:
        """Deliver the body (if the request has one) and what becomes of the client. Not called: the body is read and
        dropped."""

    def want_body(self) -> None: ...  # send 100 Continue if the client waits for it
    def pause_body(self) -> None: ...  # stop reading from the client
    def resume_body(self) -> None: ...

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        """Send a whole answer and finish. ``block``: lower-case ``name: value\\r\\n`` lines without framing fields.

        ``same``: while it holds, requests with an equal line and of the same kind (``Request.kind``) may be answered
        just so without asking the handler again.

        ``flags``: HAS_DATE, HAS_SERVER, CLOSE of ``wire.codec``; for ``send_head`` TRAILED too, where the handler
        will call ``send_trailers``.
        """

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        """Begin an answer; ``length`` None = unknown (chunked, or until close for HTTP/1.0).

        It leaves with the first piece of the body; where that may take a while, call ``flush_soon``.
        """

    def hint(self) -> None: ...  # send 103 Early Hints, where the config has them
    def send_hints(self, block: bytes) -> None:
        """Send 103 Early Hints with a handler's own lines, checked: before the head, any number of times, and only
        where this client is to have them."""

    def send_trailers(self, block: bytes) -> None:
        """Let checked lines follow the body at ``finish``, where transport and client can have them; else they are
        dropped, as RFC 9110 §6.5.1 lets everybody on the way do."""

    def flush_soon(self) -> None: ...

    def send_data(self, data: bytes) -> None: ...  # bytes beyond `length` are cut
    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send a piece of a file behind what was sent before; the fd stays the caller's, open until it has gone
        (``is_writable``) or the exchange is over."""

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        """Send a whole answer from a lent file and finish; it is retained until the last byte has gone."""

    @property
    def is_writable(self) -> bool: ...  # False: keep the rest until `on_writable`
    def finish(self) -> None: ...  # fewer bytes than `length` cut the connection
    def at_end(self, callback: Callable[[], None]) -> None: ...  # call it once the exchange is over, however it ended
    def fail(self, status: int, reason: str, block: bytes = b"") -> str:
        """Answer with an error page (cut, if the head is out). 5xx: ``reason`` goes to the log under an id that the
        page has too, and which is returned; "" = there is none."""

    def abort(self) -> None: ...  # cut now


class FailedExchange(Exchange, Protocol):
    """A transport's own exchange, as an error page gets it."""

    def renew(self) -> Exchange:
        """End this one unanswered and return another in its place, for who makes a page and may take a while.

        What is left of the body is not read until it is answered, and if it fails no error page is asked for again.
        """


class SwitchingExchange(Exchange, Protocol):
    """A transport's own exchange, which can become another protocol's."""

    def switch(self, block: bytes) -> None:
        """Accept what ``request.websocket`` asks for: 101, or 200 over HTTP/2, with these checked lines.

        From then on ``body_data`` gets the bytes of the client as they come, ``send_data`` sends bytes as they are,
        ``pause_body`` and ``is_writable`` are the brakes, and ``finish`` ends it.
        """


class Lanes(NamedTuple):
    """Who does what may take long."""

    disk: Threads
    """Looks at disks of this machine."""
    network: Threads
    """Looks at what may hang: a network's disks, and folders of which nobody knows yet what they are on."""
    cpu: Threads


class Handler(Protocol):
    def handle(self, exchange: Exchange, match: Match[Handler]) -> None: ...


class Threads(Protocol):
    """Where work is done that would hold up the event loop; one lane for computing, one for slow disks."""

    def run(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Call ``work`` in a thread, then ``done`` on the loop with its result or with what it raised."""

    def close(self) -> None: ...  # nothing is run any more
