"""Step 5 of the request path: the handler ``app``. Makes a call of the request and gives it to the application's pool.

I/O: none. What an application sees of a request is put together here; ``http.hidden`` says which fields are not for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pyserve.errors import RequestError
from pyserve.handlers.call import GATHERED_BYTES, AppCall, HealthCall
from pyserve.handlers.interface import Exchange, Handler
from pyserve.handlers.modifiers import PLAIN
from pyserve.handlers.pool import Pool
from pyserve.http.hidden import visible_fields
from pyserve.http.request import Request
from pyserve.routing.router import Match
from pyserve.wire.codec import Head, pack_head, unpack_peer
from pyserve.wire.frames import WSGI

if TYPE_CHECKING:
    from pyserve.handlers.compressed import Compression
    from pyserve.handlers.hand_over import HandOver
    from pyserve.handlers.interface import SwitchingExchange


class AppHandler:
    """``mount``: the literal prefix that moves into SCRIPT_NAME / root_path, "" = none.

    ``compression``: where the route has ``compress``. ``hand_over``: where the application may name files.
    """

    __slots__ = ("_compression", "_hand_over", "_mount", "_pool")

    def __init__(
        self, pool: Pool, mount: str, compression: Compression | None = None, hand_over: HandOver | None = None
    ) -> None:
        self._pool = pool
        self._mount = mount
        self._compression = compression
        self._hand_over = hand_over

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        request = exchange.request
        own = exchange
        if exchange.modifiers is not PLAIN:
            if exchange.modifiers.hints and not request.has_body and b"upgrade" not in request.hidden:
                exchange.hint()
            if self._compression is not None:
                exchange = self._compression.around(exchange)
        if self._hand_over is not None:
            exchange = self._hand_over.around(exchange, own)
        if not request.has_body:
            blob = request.memo.get("wire")
            if blob is None:
                if (request.protocol or b"upgrade" in request.hidden) and self._is_websocket(own):
                    return
                blob = pack_head(wire_head(request, self._mount, None))
                if request.path in self._pool.health:
                    # Remembered nowhere, so that all others are spared this look.
                    first = HealthCall(self._pool, exchange, blob)
                    exchange.attach(first)
                    self._pool.submit_to_lane(first)
                    return
                request.memo["wire"] = blob
            call = AppCall(self._pool, exchange, blob)  # type: ignore[arg-type]
            exchange.attach(call)
            self._pool.submit(call)
            return
        if (request.protocol or b"upgrade" in request.hidden) and self._is_websocket(own):
            return
        call = AppCall(self._pool, exchange, b"")
        call.mount = self._mount
        exchange.attach(call)
        length = request.content_length
        is_small = length is not None and length <= GATHERED_BYTES and not request.expects_continue
        if is_small or self._pool.interface == WSGI or not self._pool.has_room_to_stream():
            call.gather()
        else:
            # Nobody wants the body before a worker was chosen: it waits in the kernel, not here.
            exchange.pause_body()
            self._pool.submit(call)

    def _is_websocket(self, exchange: Exchange) -> bool:
        """Begin a WebSocket, or refuse it, if that is what is asked for and the application may know of such things.

        Where it can't, RFC 9110 §7.8 has the wish ignored.
        """
        pool = self._pool
        request = exchange.request
        if pool.interface == WSGI:
            return self._is_tunnel(exchange)
        from pyserve.http.websocket_handshake import is_origin_allowed, upgrade_fields  # many applications have none

        try:
            handshake = request.websocket
        except RequestError as error:
            exchange.fail(error.status, error.reason, upgrade_fields(error.status, request.version))
            return True
        if handshake is None:
            return self._is_tunnel(exchange)
        scheme = unpack_peer(exchange.peer_blob)[2]
        if not is_origin_allowed(handshake, request, scheme, pool.websocket.origins):
            exchange.fail(403, "a WebSocket from a page of another origin")
            return True
        sockets = pool.make_sockets()
        call = sockets.make(
            cast("SwitchingExchange", exchange), handshake, pack_head(wire_head(request, self._mount, None))
        )
        exchange.attach(call)
        sockets.submit(call)
        return True

    @staticmethod
    def _is_tunnel(exchange: Exchange) -> bool:
        """Over HTTP/2 no other answer is possible to who wants another protocol."""
        if not exchange.request.protocol:
            return False
        exchange.fail(501, "the application does not speak what was to be tunnelled to it")
        return True


def wire_head(request: Request, mount: str, content_length: int | None) -> Head:
    """Return what an application sees of a request. ``content_length``: of the body that will follow."""
    return Head(
        request.method,
        request.raw_path,
        request.path,
        request.query,
        request.version,
        mount,
        content_length,
        visible_fields(request),
    )
