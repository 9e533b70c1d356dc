"""Step 6 of the request path: an error page of the operator's own, from an application.

I/O: none; one look at the clock. The application is asked ``GET path`` in place of the request that failed, and told
what failed in fields that no client can send (``http.hidden``). The invariants: the client gets the status of its
failure; a page that fails itself is answered by the built-in one, and no other is asked for; the request that failed is
over for everybody who had a hand in it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from pyserve.handlers.call import AppCall
from pyserve.handlers.file_page import Report
from pyserve.handlers.interface import Exchange, FailedExchange, Lent, Receiver, Same
from pyserve.handlers.pool import Pool
from pyserve.http.hidden import NOTHING_HIDDEN, visible_fields
from pyserve.http.request import Request
from pyserve.http.response import ERROR_BLOCK, error_page
from pyserve.http.target import parse_target
from pyserve.wire.codec import pack_head

WAIT_S = 2.0
"""So long a page waits for a worker: one that died is replaced in less. After a 503, whose client has waited already,
it waits for none."""
# A page has no body, and is sent whole.
_LEFT_OUT = (b"content-", b"if-")
_LEFT_OUT_NAMES = frozenset((b"range", b"expect", b"digest", b"want-digest"))


class AppPage:
    """``target``: path and query, percent-encoded."""

    __slots__ = ("_pool", "_report", "_target")

    def __init__(self, pool: Pool, target: str, report: Report) -> None:
        self._pool = pool
        self._target = target.encode("ascii")
        self._report = report

    def answer(self, exchange: FailedExchange, status: int, block: bytes, incident: str) -> None:
        request = page_request(exchange.request, self._target, status, incident)
        page = PageExchange(exchange.renew(), request, status, block, incident, self._page_failed)
        call = AppCall(self._pool, page, pack_head(self._pool.wire_head(request, "", None)))
        page.attach(call)
        self._pool.submit(call)
        if call.worker is None and not page.over:
            call.deadline = min(call.deadline, monotonic() + (0.0 if status == 503 else WAIT_S))

    def _page_failed(self, reason: str) -> None:
        name = self._pool.name
        text = f"error page {self._target.decode()} of app {name}: {reason}"
        self._report("warning", ("error page", name, self._target), text)


def page_request(failed: Request, target: bytes, status: int, incident: str) -> Request:
    """Return what an application is asked for the page of a request that failed."""
    request = Request()
    request.method = "GET"
    request.raw_target = target
    request.authority = failed.authority
    request.host = failed.host
    request.raw_path, request.path, request.query, _ = parse_target("GET", target)
    request.version = failed.version
    uri = failed.raw_path + (b"?" + failed.query if failed.query else b"")
    request.fields = (
        *(field for field in visible_fields(failed) if not _is_left_out(field[0])),
        (b"x-error-status", b"%d" % status),
        (b"x-error-method", failed.method.encode()),
        (b"x-error-uri", uri),
        *([(b"x-error-incident", incident.encode())] if incident else []),
    )
    request.hidden = NOTHING_HIDDEN  # they are gone already
    request.forwarded = None  # its fields are there already
    request.content_length = None
    request.is_chunked = request.has_body = request.expects_continue = request.is_conditional = False
    request.keep_alive = failed.keep_alive
    request.referer = failed.referer
    request.user_agent = failed.user_agent
    request.kind = None
    request.memo = {}
    return request


def _is_left_out(name: bytes) -> bool:
    return name in _LEFT_OUT_NAMES or name.startswith(_LEFT_OUT)


class PageExchange:
    """What the call for a page takes for its exchange: the failed request's, which keeps its status.

    A page is an answer of 2xx with content, or of the failure's own 4xx; whatever else comes, the built-in one is sent.
    """

    __slots__ = (
        "_block",
        "_exchange",
        "_failed",
        "_has_begun",
        "_incident",
        "_receiver",
        "_status",
        "modifiers",
        "request",
    )

    def __init__(
        self,
        exchange: Exchange,
        request: Request,
        status: int,
        block: bytes,
        incident: str,
        failed: Callable[[str], None],
    ) -> None:
        """``block``: lines that belong to ``status``; ``failed`` is told why there is no page."""
        self.request = request
        self.modifiers = exchange.modifiers
        self._exchange = exchange
        self._status = status
        self._block = block
        self._incident = incident
        self._failed = failed
        self._has_begun = False
        self._receiver: Receiver | None = None

    @property
    def over(self) -> bool:
        return self._exchange.over

    @property
    def started(self) -> float:
        return self._exchange.started

    @property
    def peer_blob(self) -> bytes:
        return self._exchange.peer_blob

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._exchange.attach(receiver)

    # The body belongs to the request that failed.

    def want_body(self) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def hint(self) -> None: ...

    # What would come before and after the page is of no use to who gets an error.

    def send_hints(self, block: bytes) -> None: ...
    def send_trailers(self, block: bytes) -> None: ...

    # The page.

    def _is_page(self, status: int) -> bool:
        if status in (200, 201, 202, 203) or (status < 500 and status == self._status):
            return True
        self.fail(status, f"it was answered with {status}")
        return False

    def _fields(self, block: bytes) -> bytes:
        """Return the page's lines with those of the failure; what is about a failure is not to be kept in caches."""
        own = {b"trailer", *(line.partition(b":")[0] for line in self._block.split(b"\r\n")[:-1])}
        lines = [line for line in block.split(b"\r\n")[:-1] if line.partition(b":")[0] not in own]
        if not any(line.startswith(b"cache-control:") for line in lines):
            lines.append(b"cache-control: no-store")
        return b"".join([line + b"\r\n" for line in lines]) + self._block

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if self._is_page(status):
            self._exchange.send(self._status, self._fields(block), body, flags)

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if self._is_page(status):
            self._has_begun = True
            self._exchange.send_head(self._status, self._fields(block), length, flags)
        elif self._receiver is not None:
            self._receiver.client_gone()  # nobody waits for the rest

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        if self._is_page(status):
            self._has_begun = True
            self._exchange.send_lent(self._status, self._fields(block), lent, offset, count)

    def flush_soon(self) -> None:
        if self._has_begun:
            self._exchange.flush_soon()

    def send_data(self, data: bytes) -> None:
        self._exchange.send_data(data)

    def send_file(self, fd: int, offset: int, count: int) -> None:
        self._exchange.send_file(fd, offset, count)

    @property
    def is_writable(self) -> bool:
        return self._exchange.is_writable

    def finish(self) -> None:
        self._exchange.finish()

    def at_end(self, callback: Callable[[], None]) -> None:
        self._exchange.at_end(callback)

    def fail(self, status: int, reason: str, block: bytes = b"") -> str:
        if self.over:
            return ""
        if self._has_begun:
            return self._exchange.fail(status, reason)
        self._failed(reason)
        self._exchange.send(self._status, ERROR_BLOCK + self._block, error_page(self._status, self._incident))
        return self._incident

    def abort(self) -> None:
        self._exchange.abort()
