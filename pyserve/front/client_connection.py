"""Steps 3 and 6 of the request path: what every connection to a client has, whichever protocol it speaks.

I/O: a transport of the event loop. Who is at its other end, as far as that is known, and whether that end takes what it
is sent. Framing, phases and deadlines are the business of the connection of each protocol.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from pyserve.front.context import Context
from pyserve.front.pace import Pace
from pyserve.http.target import split_authority
from pyserve.net.outgoing import unacknowledged_bytes
from pyserve.wire.codec import Peer, TlsPeer, pack_peer

if TYPE_CHECKING:
    from pyserve.front.realm import Realm
    from pyserve.http.forwarded import Forwarded


class ClientConnection(asyncio.Protocol):
    """Base of ``Connection`` (HTTP/1) and ``H2Connection``.

    ``given``: both ends as a PROXY protocol header named them, in place of the socket's own. ``realm``: what can be
    reached, by default what plain http can. ``tls``: tells what the handshake settled, for applications that are to
    know; None = clear text. ``written``: bytes given to the transport or taken by the kernel.
    """

    __slots__ = (
        "_given",
        "_taken",
        "_tls",
        "_writing_pace",
        "client",
        "context",
        "deadline",
        "heads",
        "known_peer",
        "realm",
        "transport",
        "written",
    )

    transport: asyncio.Transport

    def __init__(
        self, context: Context, given: Peer | None, realm: Realm | None, tls: Callable[[], TlsPeer] | None
    ) -> None:
        self.context = context
        self.realm = realm or context.realm
        self.heads = self.realm.heads
        self._given = given
        self._tls = tls
        self.client = b"-"
        self.deadline = context.now + context.limits.head_timeout_s
        self.written = 0
        self._taken = 0  # how many of them the client had when that was last looked at
        self._writing_pace: Pace | None = None  # while something waits for the client to take it
        self.known_peer = b""

    def meet(self, transport: asyncio.BaseTransport) -> None:
        """Begin: learn who the other end is."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are none by class
        context = self.context
        name: object = transport.get_extra_info("peername") if self._given is None else self._given.client
        address = name[0] if isinstance(name, tuple) else None
        if address is not None:
            self.client = address.encode()
        if context.proxies is not None and context.proxies.trust(address):
            self.heads = self.realm.trusted_heads

    def peer_blob(self) -> bytes:
        """Make ``known_peer``: both ends of the connection, as applications see them."""
        self.known_peer = pack_peer(self._peer())
        return self.known_peer

    def _peer(self) -> Peer:
        ends = self._given or _both_ends(self.transport)
        return ends if self._tls is None else Peer(ends.client, ends.server, "https", self._tls())

    def forwarded_peer(self, forwarded: Forwarded, authority: str) -> bytes:
        """Both ends as trusted proxies name them; what they don't say is as it is on this connection."""
        client, server, scheme, tls = self._peer()
        scheme = forwarded.scheme or scheme
        if authority and (forwarded.scheme or forwarded.authority is not None):
            # Who tells the scheme has its own port before ours: the client asked for what Host says.
            server = split_authority(authority, scheme)
        if forwarded.port:
            server = (server[0], forwarded.port)
        return pack_peer(Peer(forwarded.client or client, server, scheme, tls))

    def abort(self) -> None:
        raise NotImplementedError

    def end_sending(self) -> None:
        """Say that nothing more comes. A client that has cut just now is no fault of anybody's: asyncio raises then."""
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def check_progress(self, now: float, has_more: bool) -> None:
        """Cut a client that takes its answer too slowly. ``has_more``: something waits beside the transport's bytes.

        Looked at only while something waits here: what the kernel has taken costs us nothing.
        """
        unsent = self.transport.get_write_buffer_size()
        if not unsent and not has_more:
            self._writing_pace = None
            return
        pace = self._writing_pace
        if pace is not None and not pace.is_due(now):
            return
        own = self.transport.get_extra_info("socket")
        taken = self.written - unsent - (0 if own is None else unacknowledged_bytes(own.fileno()))
        if pace is None:
            limits = self.context.limits
            self._writing_pace = Pace(limits.write_timeout_s, limits.min_rate_bytes, now)
        else:
            pace.moved(taken - self._taken)
            if pace.is_too_slow(now):
                self.context.error_log.seldom(
                    "info", "slow reader", f"cut {self.client.decode()}: it took its answer too slowly"
                )
                self.reset_at_close()  # else the kernel would go on holding megabytes for it
                self.abort()
                return
        self._taken = taken

    def reset_at_close(self) -> None:
        """Let the end of the connection be a reset: it then drops what the client has not taken."""
        own = self.transport.get_extra_info("socket")
        try:
            with socket.socket(fileno=os.dup(own.fileno())) as duplicate:
                duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, AttributeError):
            pass  # lost already, or no descriptor is left


def _both_ends(transport: asyncio.Transport) -> Peer:
    client = transport.get_extra_info("peername")
    server = transport.get_extra_info("sockname")
    return Peer(
        (client[0], client[1]) if isinstance(client, tuple) else None,
        (server[0], server[1]) if isinstance(server, tuple) else (os.fsdecode(server or ""), None),
        "http",
    )
