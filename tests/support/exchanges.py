"""A fake exchange: it records what a handler answers and reads the files that it is lent, when the test says so."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyserve.config.model import Handler, Route, Site
from pyserve.handlers.interface import Handler as Answering
from pyserve.handlers.interface import Lent, Receiver, Same
from pyserve.handlers.modifiers import PLAIN
from pyserve.http.hidden import is_hidden
from pyserve.http.request import Request
from pyserve.http.target import parse_target
from pyserve.routing.router import Router
from pyserve.wire.codec import Peer, pack_peer


def make_request(target: str | bytes, method: str = "GET", **fields: str) -> Request:
    """Make a canonical request as the front would; ``if_none_match="…"`` becomes a field."""
    raw = target.encode() if isinstance(target, str) else target
    request = Request()
    request.method = method
    request.raw_target = raw
    request.authority = request.host = "a.test"
    request.raw_path, request.path, request.query, _ = parse_target(method, raw)
    request.version = "1.1"
    request.fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    request.content_length = None
    request.is_chunked = request.expects_continue = request.has_body = False
    request.keep_alive = True
    request.memo = {}
    request.line_memo = {}
    request.rest_memo = {}
    request.kind = request.forwarded = None
    request.hidden = frozenset(name for name, _ in request.fields if is_hidden(name))
    request.is_conditional = any(name.startswith(b"if-") or name == b"range" for name, _ in request.fields)
    request.referer = request.user_agent = b"-"
    return request


INCIDENT = "0123456789"


class FakeExchange:
    def __init__(self, request: Request) -> None:
        self.request = request
        self.modifiers = PLAIN
        self.over = False
        self.started = 0.0
        self.peer_blob = pack_peer(Peer(("127.0.0.1", 1), ("127.0.0.1", 80), "http"))
        self.is_writable = True
        self.status = 0
        self.block = b""
        self.length: int | None = None
        self.body = b""
        self.reason = ""
        self.same: Same | None = None
        self.calls: list[str] = []
        self.hints: list[bytes] = []
        self.trailers = b""
        self.receiver: Receiver | None = None
        self.lent: list[tuple[int, int, int]] = []
        self._behind: list[tuple[int, bytes]] = []  # behind which of those
        self._at_end: list[Callable[[], None]] = []

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if self.over:
            return
        self.calls.append("send")
        self.status, self.block, self.length, self.body = status, block, len(body), body
        self.same = same
        self.end()

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if self.over:
            return
        self.calls.append("send_head")
        self.status, self.block, self.length = status, block, length

    def hint(self) -> None:
        self.calls.append("hint")

    def send_hints(self, block: bytes) -> None:
        self.calls.append("send_hints")
        self.hints.append(block)

    def send_trailers(self, block: bytes) -> None:
        self.calls.append("send_trailers")
        self.trailers = block

    def flush_soon(self) -> None:
        self.calls.append("flush_soon")

    def send_data(self, data: bytes) -> None:
        if self.over:
            return
        self.calls.append("send_data")
        if self.lent:
            self._behind.append((len(self.lent), data))
        else:
            self.body += data

    def send_file(self, fd: int, offset: int, count: int) -> None:
        if self.over:
            return
        os.fstat(fd)  # a transport would find out too
        self.calls.append("send_file")
        self.lent.append((fd, offset, count))
        self.is_writable = False

    def send_lent(
        self, status: int, block: bytes, lent: Lent, offset: int, count: int, same: Same | None = None
    ) -> None:
        if self.over:
            return
        lent.retain()
        self.at_end(lent.release)
        self.same = same
        self.send_head(status, block, count)
        self.send_file(lent.fd, offset, count)
        self.finish()

    def finish(self) -> None:
        if self.over:
            return
        self.calls.append("finish")

    def at_end(self, callback: Callable[[], None]) -> None:
        if self.over:
            callback()
        else:
            self._at_end.append(callback)

    def fail(self, status: int, reason: str, block: bytes = b"") -> str:
        if self.over:
            return ""
        self.calls.append("fail")
        self.status, self.block, self.reason = status, block, reason
        self.end()
        return INCIDENT if status >= 500 else ""

    def renew(self) -> FakeExchange:
        self.calls.append("renew")
        self.renewed = FakeExchange(self.request)
        self.renewed.modifiers = self.modifiers.without_pages()
        self.end()
        return self.renewed

    def abort(self) -> None:
        self.calls.append("abort")
        self.end()

    def attach(self, receiver: Receiver) -> None:
        self.calls.append("attach")
        self.receiver = receiver

    def want_body(self) -> None:
        self.calls.append("want_body")

    def pause_body(self) -> None:
        self.calls.append("pause_body")

    def resume_body(self) -> None:
        self.calls.append("resume_body")

    def transmit(self) -> None:
        """Read what was lent, as a transport would after the handler has returned, and end."""
        while self.lent:
            lent, self.lent = self.lent, []
            behind, self._behind = self._behind, []
            for number, (fd, offset, count) in enumerate(lent, 1):
                self.body += os.pread(fd, count, offset)
                self.body += b"".join([data for place, data in behind if place == number])
            self.is_writable = True
            if self.receiver is not None:
                self.receiver.on_writable()
        self.end()

    def end(self) -> None:
        assert not self.over, "an exchange ends once"
        self.over = True
        for callback in self._at_end:
            callback()

    @property
    def headers(self) -> dict[str, str]:
        lines = self.block.decode("latin-1").split("\r\n")
        assert lines.pop() == "", "a block is whole lines"
        return dict(line.split(": ", 1) for line in lines)


def begin(
    answering: Answering, config: Handler, target: str | bytes, method: str = "GET", route: str = "", **fields: str
) -> FakeExchange:
    """Send one request through routing to a handler. ``route`` "": the handler is the site's own."""
    routes = (Route(route, config),) if route else ()
    site = Site("a", ("a.test",), handler=None if route else config, routes=routes)
    router: Router[Answering] = Router([site], lambda handler, site, route: answering)
    exchange = FakeExchange(make_request(target, method, **fields))
    answering.handle(exchange, router.find("a.test", exchange.request.path))
    return exchange


def ask(
    answering: Answering, config: Handler, target: str | bytes, method: str = "GET", route: str = "", **fields: str
) -> FakeExchange:
    """The same, and end it."""
    exchange = begin(answering, config, target, method, route, **fields)
    if not exchange.over:
        exchange.transmit()
    return exchange
