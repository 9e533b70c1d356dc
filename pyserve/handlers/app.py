"""Step 5 of the request path: the handler ``app``. Makes a call of the request and gives it to the application's pool.

I/O: none. What an application sees is decided here: hop-by-hop fields and names with an underscore never reach it (an
underscore and a dash are the same in a WSGI environ).
"""

from __future__ import annotations

from pyserve.handlers.call import AppCall
from pyserve.handlers.interface import Exchange, Handler
from pyserve.handlers.pool import Pool
from pyserve.http.request import Request
from pyserve.routing.router import Match
from pyserve.wire.codec import Head, pack_head
from pyserve.wire.frames import WSGI

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"upgrade", b"trailer", b"proxy")
)


class AppHandler:
    """``mount``: the literal prefix that moves into SCRIPT_NAME / root_path, "" = none."""

    __slots__ = ("_mount", "_pool")

    def __init__(self, pool: Pool, mount: str) -> None:
        self._pool = pool
        self._mount = mount

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        request = exchange.request
        if not request.has_body:
            blob = request.memo.get("wire")
            if blob is None:
                blob = request.memo["wire"] = pack_head(wire_head(request, self._mount, None))
            call = AppCall(self._pool, exchange, blob)  # type: ignore[arg-type]
            exchange.attach(call)
            self._pool.submit(call)
            return
        call = AppCall(self._pool, exchange, b"")
        call.mount = self._mount
        exchange.attach(call)
        if self._pool.interface == WSGI:
            call.gather()
        else:
            # Nobody wants the body before a worker was chosen: it waits in the kernel, not here.
            exchange.pause_body()
            self._pool.submit(call)


def wire_head(request: Request, mount: str, content_length: int | None) -> Head:
    """Return what an application sees of a request. ``content_length``: of the body that will follow."""
    fields = request.fields
    nominated = None
    for name, value in fields:
        if name in _HOP_BY_HOP or b"_" in name:
            if name == b"connection":
                tokens = {token.strip(b" \t") for token in value.lower().split(b",")} - _NOT_NOMINABLE
                nominated = (nominated or set()) | tokens
            elif nominated is None:
                nominated = set()
    if nominated is not None:
        fields = tuple(
            (name, value)
            for name, value in fields
            if name not in _HOP_BY_HOP and b"_" not in name and name not in nominated
        )
    if request.raw_target[:1] != b"/":
        # The absolute form's authority replaces Host (RFC 9112 §3.2.2).
        host = (b"host", request.authority.encode())
        fields = (host, *((name, value) for name, value in fields if name != b"host"))
    return Head(
        request.method,
        request.raw_path,
        request.path,
        request.query,
        request.version,
        mount,
        content_length,
        fields,
    )


# What Connection can't take away: framing and who is asked (RFC 9110 §7.6.1).
_NOT_NOMINABLE = frozenset(
    (b"close", b"keep-alive", b"host", b"content-length", b"content-type", b"authorization", b"cookie")
)
