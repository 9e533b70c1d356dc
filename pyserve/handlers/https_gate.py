"""Step 4 of the request path, before any other handler: a site that belongs on https, asked for over plain http.

Pure. The client is sent to https, unless a trusted proxy says that it came that way, or the site's first certificate is
still to come; while its certificate is broken it is not served at all, for nothing of it was ever meant to go out in
clear text. A site whose clients have to show certificates is not had this way at all, for here nobody can show one, and
a proxy's word is none. Challenges of ACME (RFC 8555 §8.3) come over plain http, whatever else does not.
"""

from __future__ import annotations

from collections.abc import Callable

from pyserve.handlers.interface import Exchange, Handler
from pyserve.http.location import AS_WRITTEN, encode
from pyserve.routing.router import Match
from pyserve.wire.codec import unpack_peer

CHALLENGES = "/.well-known/acme-challenge/"


class HttpsGate:
    __slots__ = ("_demands_certificate", "_fault", "_inner", "_port", "_redirects")

    def __init__(
        self,
        inner: Handler,
        fault: Callable[[], tuple[str, bool]],
        port: Callable[[], int],
        *,
        redirects: bool = True,
        demands_certificate: bool = False,
    ) -> None:
        """``fault``: why the site can't be had on https, "" = it can; and whether that is only a matter of time.

        ``port``: of https, for who is sent there; 0 = nobody knows (a Unix socket behind something else).
        """
        self._inner = inner
        self._fault = fault
        self._port = port
        self._redirects = redirects
        self._demands_certificate = demands_certificate

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        request = exchange.request
        if request.path.startswith(CHALLENGES):
            self._inner.handle(exchange, match)
            return
        fault, is_waiting = self._fault()
        if fault and not is_waiting:
            exchange.fail(503, f"site {match.site.name} is refused: {fault}")
            return
        is_https = unpack_peer(exchange.peer_blob)[2] == "https"
        if self._demands_certificate and (is_https or not self._redirects):
            exchange.fail(
                421, f"site {match.site.name} asks clients for certificates, which none shows over plain http"
            )
        elif is_waiting or is_https:
            # Never repeated: the same bytes may come from somebody who has to be sent to https.
            request.kind = None
            self._inner.handle(exchange, match)
        else:
            self._redirect(exchange)

    def _redirect(self, exchange: Exchange) -> None:
        request = exchange.request
        if not request.host:
            exchange.fail(400, "without a host nobody can be sent to https")
            return
        port = self._port()
        where = request.host.encode("ascii", "replace") + (b"" if port in (0, 443) else b":%d" % port)
        target = encode(request.raw_path, AS_WRITTEN)
        if request.query:
            target += b"?" + encode(request.query, AS_WRITTEN)
        exchange.send(308, b"location: https://%b%b\r\n" % (where, target), b"")
