"""Step 3 of the request path, on https listeners: from the first byte to the end of the handshake.

I/O: a transport of the event loop. The ClientHello is read before the TLS library sees it: what it asks for decides
which site's settings the TLS object is made with, and what can't be served is refused before anything is computed. Then
the connection goes to the protocol that was agreed on (``protocol_for``). One deadline for all of it, from the first
moment (``F1``, ``I2`` of THREATS.md).
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from pyserve.front.context import Context
from pyserve.front.preface import Preface
from pyserve.front.tls.certificates import Identity
from pyserve.front.tls.connection import TlsConnection, address_of
from pyserve.front.tls.handshakes import judge_failure
from pyserve.front.tls.peer import describe
from pyserve.front.tls.transport import TlsTransport
from pyserve.http.client_hello import (
    INTERNAL_ERROR,
    NO_APPLICATION_PROTOCOL,
    UNRECOGNIZED_NAME,
    HelloError,
    alert_record,
    read_client_hello,
)
from pyserve.wire.codec import Peer

HANDSHAKE_TIMEOUT_S = 10.0
DRAIN_S = 1.0
MAX_EARLY_BYTES = 64 * 1024
"""A client may send its first flight in one go; more than that before the handshake is done is no client."""
_CHALLENGE = b"acme-tls/1"
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PRI * ")

_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 40\r\n"
    b"connection: close\r\n\r\nThis port speaks https; try https://...\n"
)


def protocol_for(
    context: Context, identity: Identity, ssl_object: ssl.SSLObject, given: Peer | None
) -> asyncio.Protocol:
    """Return what speaks with a client from now on: by ``selected_alpn_protocol``, None = it did not ask."""
    assert context.handshakes is not None
    realm = context.handshakes.certificates.realm_of(identity)
    tls = partial(describe, ssl_object, identity)
    if ssl_object.selected_alpn_protocol() == "h2":
        from pyserve.front.h2.connection import H2Connection

        return H2Connection(context, given, realm, tls)
    return TlsConnection(context, given, realm, tls)


class TlsPreface(Preface):
    """One of the front's connections, until its handshake is done."""

    __slots__ = (
        "_data",
        "_given",
        "_identity",
        "_incoming",
        "_is_over",
        "_is_waiting",
        "_outgoing",
        "_ssl",
        "_ssl_context",
    )

    def __init__(self, context: Context, given: Peer | None = None) -> None:
        """``given``: both ends as a PROXY protocol header named them."""
        super().__init__(context, HANDSHAKE_TIMEOUT_S)
        self._given = given
        self._data: bytes | bytearray = b""
        self._identity: Identity | None = None
        self._ssl_context: ssl.SSLContext | None = None
        self._ssl: ssl.SSLObject | None = None
        self._is_waiting = False  # for its turn
        self._is_over = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._ssl is not None:
            self._incoming.write(data)
            self._go_on()
            return
        if not self._data:
            self._data = data  # nearly always it is all
        elif isinstance(self._data, bytes):
            self._data = bytearray(self._data + data)
        else:
            self._data += data
        if self._is_waiting:
            if len(self._data) > MAX_EARLY_BYTES:
                self._fail("bad_hello", "it sends too much before the handshake", 0)
            return
        try:
            hello = read_client_hello(self._data)
        except HelloError as error:
            if error.alert:
                self._fail("bad_hello", error.reason, error.alert)
            else:
                self._not_tls()
            return
        if hello is not None:
            self._choose(hello.server_name, hello.protocols)

    def _choose(self, server_name: str, protocols: tuple[bytes, ...]) -> None:
        handshakes = self._context.handshakes
        assert handshakes is not None
        if protocols == (_CHALLENGE,) and handshakes.challenges is not None:
            self._is_waiting = True
            handshakes.challenges.find(server_name, self._take_challenge)
            return
        address = "" if server_name else address_of(self._destination())
        identity = handshakes.certificates.find(server_name, address)
        if identity is None:
            why = f"no site on https has the name {server_name!r}"
            if not server_name:
                why = "it sent no name, and no site on https "
                why += f"has the address {address} in hosts or is the default" if address else "is the default"
            self._fail("unknown_name", why, UNRECOGNIZED_NAME)
            return
        if identity.fault:
            why = f"site {identity.site.name} is refused on https: {identity.fault}"
            self._fail("refused", why, UNRECOGNIZED_NAME)
            return
        if protocols and handshakes.certificates.protocols.isdisjoint(protocols):
            self._fail("no_protocol", "it speaks none of the protocols that are spoken here", NO_APPLICATION_PROTOCOL)
            return
        self._identity = identity
        self._is_waiting = True
        handshakes.enter(self)

    def _take_challenge(self, context: ssl.SSLContext | None) -> None:
        """What an authority asks for was looked for, which may have taken a while."""
        if self._is_over:
            return
        if context is None:
            self._fail("unknown_name", "no challenge is open for this name", UNRECOGNIZED_NAME)
            return
        self._ssl_context = context
        assert self._context.handshakes is not None
        self._context.handshakes.enter(self)

    def _destination(self) -> object:
        if self._given is not None:
            return self._given.server
        return self.transport.get_extra_info("sockname")

    def begin(self) -> None:
        """Make the TLS object of the site that was chosen, and let it read what has come."""
        if self._is_over:
            return
        self._is_waiting = False
        context = self._ssl_context
        if context is None:
            identity = self._identity
            assert identity is not None
            try:
                context = identity.context(self._context.now)
            except (OSError, ssl.SSLError) as error:
                self._context.incident(f"site {identity.site.name}: its certificate can't be used: {error}")
                self._fail("other", str(error), INTERNAL_ERROR)
                return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(self._data)
        self._data = b""
        self._go_on()

    def _go_on(self) -> None:
        assert self._ssl is not None
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                self.transport.write(self._outgoing.read())
            if self._incoming.pending > MAX_EARLY_BYTES:
                self._fail("other", "it sends too much before the handshake is done", 0)
            return
        except ssl.SSLError as error:
            if self._outgoing.pending:
                self.transport.write(self._outgoing.read())  # the library's own alert
            self._fail(*judge_failure(str(error.reason or error)), 0)
            return
        self._hand_over(self._ssl)

    def _hand_over(self, ssl_object: ssl.SSLObject) -> None:
        context, identity = self._context, self._identity
        assert context.handshakes is not None
        counts = context.handshakes.counts
        counts[0] += 1
        if identity is None:  # who asked for the challenge has seen it
            self._is_over = True
            if self._outgoing.pending:
                self.transport.write(self._outgoing.read())
            self.transport.close()
            return
        if ssl_object.session_reused:
            counts[1] += 1
        self._is_over = True
        connection = protocol_for(context, identity, ssl_object, self._given)
        transport = TlsTransport(context.loop, self.transport, ssl_object, self._incoming, self._outgoing)
        transport.attach(connection)
        context.connections.discard(self)
        self.transport.set_protocol(transport)  # type: ignore[arg-type]
        connection.connection_made(transport)
        transport.start()

    # Ends.

    def _not_tls(self) -> None:
        data = bytes(self._data[:8])
        if data.startswith(_METHODS):
            self._fail("no_tls", "it speaks http on an address for https", 0, _PLAIN_ANSWER)
        elif not any(method.startswith(data) for method in _METHODS):  # else it may become one
            self._fail("no_tls", "it does not speak TLS", 0)

    def _fail(self, kind: str, reason: str, alert: int, last_words: bytes = b"") -> None:
        context = self._context
        assert context.handshakes is not None
        context.handshakes.failed(kind)
        self._is_over = True
        name = self._given.client if self._given is not None else self.transport.get_extra_info("peername")
        client = name[0] if isinstance(name, tuple) else "a Unix socket"
        level = "warning" if kind == "refused" else "info"
        context.error_log.seldom(level, ("handshake", kind), f"no handshake with {client}: {reason}")
        if alert:
            self.transport.write(alert_record(alert))
        elif last_words:
            self.transport.write(last_words)
        self.transport.close()

    # What the front tells all its connections.

    def sweep(self, now: float) -> None:
        if now < self.deadline:
            return
        if self._is_over:
            self.transport.abort()  # it does not take our last words
        elif self._data or self._ssl is not None:
            self._fail("timeout", "it took too long", 0)
        else:
            self._is_over = True
            self.transport.close()  # it never said anything

    def drain(self) -> None:
        """What is on its way gets a moment."""
        self.deadline = min(self.deadline, self._context.now + DRAIN_S)
