"""Step 3 of the request path: the certificates that answer an authority's tls-alpn-01 challenges (RFC 8737).

I/O: reads a small file, in a thread of the lane for what may hang: the folder may be shared between machines. Only
hosts of sites that get their certificates by themselves are looked for: a name that a client sends is never part of a
path.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable

from pyserve.config.acme import challenge_certificate_path
from pyserve.config.model import Site
from pyserve.handlers.interface import Threads

PROTOCOL = "acme-tls/1"
MAX_WAITING = 64
"""So many may be looked for at the same time; authorities come with a handful."""


class ChallengeCertificates:
    """``find`` is for the loop's own thread."""

    __slots__ = ("_lane", "_storages", "_waiting")

    def __init__(self, sites: Iterable[Site], lane: Threads) -> None:
        self._lane = lane
        self._storages = {host: site.acme.storage for site in sites if site.acme is not None for host in site.hosts}
        self._waiting = 0

    def find(self, host: str, done: Callable[[ssl.SSLContext | None], None]) -> None:
        """Call ``done`` with what the handshake of a challenge is made from, None = none is open for this host."""
        storage = self._storages.get(host)
        if storage is None or self._waiting >= MAX_WAITING:
            done(None)
            return
        path = challenge_certificate_path(storage, host)
        self._waiting += 1

        def found(context: ssl.SSLContext | None, error: BaseException | None) -> None:
            self._waiting -= 1
            done(context)

        self._lane.run(lambda: _build(path), found)


def _build(path: str) -> ssl.SSLContext:
    """Raises ``OSError``, which ``ssl.SSLError`` is too, where there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([PROTOCOL])
    context.load_cert_chain(path)
    return context
