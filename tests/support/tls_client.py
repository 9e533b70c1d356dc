"""The raw client over TLS: strict about certificates, and about what a handshake settled."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from tests.support.client import Client


def client_context(
    authority: bytes | None,
    *,
    protocols: Sequence[str] = ("http/1.1",),
    identity: tuple[Path, Path] | None = None,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """``authority``: PEM, None = believe anybody. ``identity``: the client's own certificate and key."""
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if identity is not None:
        context.load_cert_chain(*identity)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsClient(Client):
    """``server_name``: "" = none is sent. Raises ``ssl.SSLError`` or ``ConnectionError`` without a handshake."""

    tls: ssl.SSLSocket

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        server_name: str,
        *,
        session: ssl.SSLSession | None = None,
        timeout_s: float = 20.0,
        receive_buffer: int = 0,
    ) -> None:
        super().__init__(address, timeout_s, receive_buffer)
        raw = self.socket
        try:
            self.tls = context.wrap_socket(raw, server_hostname=server_name or None, session=session)
        except BaseException:
            raw.close()
            raise
        self.socket: socket.socket = self.tls

    def close(self) -> None:
        """With a farewell, as good clients do; its answer is not waited for."""
        try:
            self.tls.settimeout(0)
            self.tls.unwrap()
        except (OSError, ValueError):
            pass
        self.socket.close()


def alert_of(
    address: tuple[str, int], context: ssl.SSLContext, server_name: str, session: ssl.SSLSession | None = None
) -> str:
    """Try a handshake that has to fail; return what the server says to it."""
    try:
        with TlsClient(address, context, server_name, session=session) as client:
            client.socket.recv(1)  # TLS 1.3 tells the client of its own certificate only later
    except ssl.SSLError as error:
        return re.sub(r"\[.*?\] | \(_ssl.*", "", str(error))
    except ConnectionError:
        return "closed"
    raise AssertionError("the handshake was done")
