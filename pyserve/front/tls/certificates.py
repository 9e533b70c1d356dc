"""Step 3 of the request path: which site a handshake is for, and what it is made from.

I/O: reads the sealed memory that the master handed over. Contexts are made when a site is asked for the first time
(0.7 ms and 20 KiB each), so that a thousand of them never hold up the loop; a new certificate takes the old one's place
between two handshakes. Invariant: a site without a proved certificate is refused, whoever asks for it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Sequence

from pyserve.config.model import Site, Tls
from pyserve.front.realm import Realm
from pyserve.net.tls import Material, build_context
from pyserve.routing.router import Router

TICKET_KEYS_S = 24 * 3600.0
"""So long a context is used: its ticket keys are as old as it is, and whoever has them can read what was resumed."""


class _File:
    """Memory that several sites' materials lie in; closed when the last of them has another."""

    __slots__ = ("fd", "users")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0

    def release(self) -> None:
        self.users -= 1
        if self.users <= 0:
            os.close(self.fd)


class Identity:
    """A site on https. ``context`` is None until it is asked for; ``fault``: why it is refused, "" = it is not."""

    __slots__ = (
        *("_context", "_file", "_lengths", "_made_at", "_offset", "_protocols"),
        *("fault", "is_waiting", "realm", "site", "tls"),
    )

    def __init__(self, site: Site, tls: Tls, protocols: tuple[str, ...]) -> None:
        self.site = site
        self.tls = tls
        self._protocols = protocols
        self.fault = "its certificate has not been proved yet"
        self.is_waiting = False
        self.realm: Realm | None = None
        self._context: ssl.SSLContext | None = None
        self._made_at = 0.0
        self._file: _File | None = None
        self._offset = 0
        self._lengths: tuple[int, ...] = ()

    def take(self, file: _File, offset: int, lengths: Sequence[int]) -> None:
        """A proved certificate: for handshakes from now on. Those under way keep what they began with."""
        old, self._file = self._file, file
        file.users += 1
        self._offset, self._lengths = offset, tuple(lengths)
        self._context = None
        self.fault, self.is_waiting = "", False
        if old is not None:
            old.release()

    def context(self, now: float) -> ssl.SSLContext:
        """Return what handshakes are made from. Raises ``ssl.SSLError`` or ``OSError``; call it only without fault."""
        if self._context is None or now - self._made_at > TICKET_KEYS_S:
            assert self._file is not None
            at, pieces = self._offset, []
            for length in self._lengths:
                pieces.append(os.pread(self._file.fd, length, at))
                at += length
            self._context = build_context(
                Material(*pieces), self.tls.client_auth, self.tls.min_version, self._protocols
            )
            self._made_at = now
        return self._context

    @property
    def leaf(self) -> str:
        """The site's own certificate, in PEM."""
        if self._file is None:
            return ""
        chain = os.pread(self._file.fd, self._lengths[0], self._offset).decode("ascii")
        end = "-----END CERTIFICATE-----\n"
        return chain[: chain.find(end) + len(end)]

    def close(self) -> None:
        self._context = None
        if self._file is not None:
            self._file.release()
            self._file = None


class Certificates:
    """All sites of a front on https, by the names that clients send (RFC 6066 §3)."""

    def __init__(
        self, sites: Sequence[Site], protocols: tuple[str, ...], make_realm: Callable[[Certificates, Tls], Realm]
    ) -> None:
        """``protocols``: what is offered by ALPN, in the order of preference. ``make_realm``: what connections can
        reach; called once for each policy that is used."""
        self.protocols = frozenset(protocol.encode() for protocol in protocols)
        self._by_number: dict[int, Identity] = {}
        self._by_name: dict[str, Identity] = {}
        for number, site in enumerate(sites):
            if site.tls is not None:
                self._by_number[number] = self._by_name[site.name] = Identity(site, site.tls, protocols)
        # All sites, for a name of one that is not on https is nobody else's.
        self._router: Router[None] = Router(sites, lambda handler, site, route: None)
        self._make_realm = make_realm
        self._realms: dict[tuple[str, str, str], Realm] = {}

    # What the master says.

    def take(self, entries: Iterable[tuple[int, int, int, int, int]], fd: int) -> None:
        """Certificates were proved: (number of the site, offset, lengths of chain, key, client_ca). Takes ``fd``."""
        file = _File(fd)
        file.users += 1
        for number, offset, *lengths in entries:
            self._by_number[number].take(file, offset, lengths)
        file.release()
        self._forget_matches()

    def refuse(self, number: int, reason: str, is_waiting: bool = False) -> None:
        """A site has no certificate that could be used; said only of those that never had one.

        ``is_waiting``: one is being asked for, and until it comes the site is served in clear text.
        """
        identity = self._by_number[number]
        identity.fault, identity.is_waiting = reason, is_waiting
        self._forget_matches()

    def _forget_matches(self) -> None:
        for realm in self._realms.values():
            realm.forget_matches()

    # What handshakes and requests ask.

    def find(self, server_name: str, address: str) -> Identity | None:
        """Return the site of a name in lower case; without one, of the address that was connected to.

        None: no site has this name, or it is not on https.
        """
        site = self._router.find_site(server_name or address)
        return None if site is None else self._by_name.get(site.name)

    def fault_of(self, name: str) -> tuple[str, bool]:
        """Return why a site is refused on https ("" = it is not, or is not meant to be there), and whether that is only
        a matter of time."""
        identity = self._by_name.get(name)
        return ("", False) if identity is None else (identity.fault, identity.is_waiting)

    def realm_of(self, identity: Identity) -> Realm:
        realm = identity.realm
        if realm is None:
            policy = identity.tls.policy
            realm = self._realms.get(policy)
            if realm is None:
                realm = self._realms[policy] = self._make_realm(self, identity.tls)
            identity.realm = realm
        return realm

    def barrier(self, tls: Tls, name: str) -> str:
        """Return what keeps a connection that was made under these settings out of a site; "" = nothing."""
        identity = self._by_name.get(name)
        if identity is None:
            return f"site {name} is not served on https"
        if identity.fault:
            return f"site {name} is refused on https: {identity.fault}"
        if identity.tls.policy != tls.policy:
            return f"site {name} asks more, or something else, of a connection than this one was made with"
        return ""

    def close(self) -> None:
        for identity in self._by_number.values():
            identity.close()
