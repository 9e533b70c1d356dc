"""Step 3 of the request path: what a site's handshakes are made from.

I/O: none beside memory; ``ssl`` and, once per context, ``ctypes``. The profile is Mozilla's *intermediate*
(wiki.mozilla.org/Security/Server_Side_TLS, version 5.7): TLS 1.2 and 1.3, forward secrecy, the client's order of
ciphers. Not there on purpose: compression, renegotiation, early data.

Invariant: settings of one site never leak to another. Every site has a context of its own, and it is chosen before the
TLS object is made: exchanging it in a callback keeps verify mode, tickets and versions of the first one.
"""

from __future__ import annotations

import os
import ssl
import sys
from typing import NamedTuple

from pyserve.net.channels import shared_memory

_CIPHERS = ":".join(
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ]
)
"""The profile's DHE suites are left out: they are for clients that know no curves, and cost the server most."""
_GROUPS = "X25519:P-256:P-384"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

# include/openssl/ssl.h
_SSL_CTRL_MODE, _SSL_MODE_NO_AUTO_CHAIN = 33, 8
_SSL_CTRL_SET_SESS_CACHE_MODE, _SSL_SESS_CACHE_OFF = 44, 0
_SSL_CTRL_SET_GROUPS_LIST = 92
_LAYOUT_KNOWN_BELOW = (3, 15)
"""From here on ``SSLContext`` has ``set_groups`` itself, and what is in front of its pointer is not looked at."""


class Material(NamedTuple):
    """What a site shows and what it asks for, as PEM. ``key`` is a secret."""

    chain: bytes
    key: bytes
    client_ca: bytes = b""

    def __repr__(self) -> str:
        return f"<Material of {len(self.chain)} bytes>"


def build_context(
    material: Material, client_auth: str, min_version: str, protocols: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """Return the context of a site. Raises ``ssl.SSLError`` or ``OSError`` where the library does not take it.

    ``client_auth``: none, optional, required. ``protocols``: for ALPN.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[min_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All that are left are good, so the client says which one it is fastest with.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _restrict_groups(context)
    # Tickets are kept by clients; what would be kept here, for those that know none, is 40 MB for each site.
    _control(context, _SSL_CTRL_SET_SESS_CACHE_MODE, _SSL_SESS_CACHE_OFF, None)
    # The chain is the file's. In each handshake the library would look for what may be missing, among the authorities
    # that clients are let in by: 3 µs and more, and never what was meant.
    _control(context, _SSL_CTRL_MODE, _SSL_MODE_NO_AUTO_CHAIN, None)
    # One for each handshake: a second one costs 13 µs of 180, and is of use to who opens several connections at once.
    context.num_tickets = 1
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if client_auth != "none":
        # A resumed session would skip the look at the certificate, whatever has become of it and of the authorities.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.verify_mode = _VERIFY[client_auth]
        context.load_verify_locations(cadata=material.client_ca.decode("ascii", "replace"))
    _load(context, material)
    return context


def _load(context: ssl.SSLContext, material: Material) -> None:
    """The library reads certificates from files only: here it is one without a name, in memory."""
    fd = shared_memory(0)
    try:
        with open(os.dup(fd), "wb") as file:
            file.write(material.chain + b"\n" + material.key)
        folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
        os.lseek(fd, 0, os.SEEK_SET)
        # A key with a passphrase must be refused, not asked for on the terminal.
        context.load_cert_chain(f"{folder}/{fd}", password=_no_passphrase)
    finally:
        os.close(fd)


def _no_passphrase() -> str:
    raise ssl.SSLError("the key has a passphrase")


def _restrict_groups(context: ssl.SSLContext) -> None:
    if hasattr(context, "set_groups"):
        context.set_groups(_GROUPS)
    else:
        _control(context, _SSL_CTRL_SET_GROUPS_LIST, 0, _GROUPS.encode())


def _control(context: ssl.SSLContext, command: int, number: int, argument: bytes | None) -> None:
    """Call ``SSL_CTX_ctrl``, for what Python's ``ssl`` has no word for.

    SAFETY: the pointer is the first thing behind the object's head in all versions from 2.7 to 3.14. In others, and in
    other implementations, nothing is done: the curves are the library's own choice then, and sessions are kept, bound
    to their context.
    """
    if sys.implementation.name != "cpython" or sys.version_info >= _LAYOUT_KNOWN_BELOW:
        return
    import _ssl
    import ctypes

    library = ctypes.CDLL(_ssl.__file__)  # it finds the very libssl that it is linked to
    control = library.SSL_CTX_ctrl
    control.restype = ctypes.c_long
    control.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    control(pointer, command, number, argument)
