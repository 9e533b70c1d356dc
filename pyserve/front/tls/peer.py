"""Step 5 of the request path: what applications are told of an encrypted connection, and of who is at its other end.

I/O: none. The same for all requests of a connection, and made when the first of them reaches an application.
"""

from __future__ import annotations

import ssl

from pyserve.front.tls.certificates import Identity
from pyserve.http.distinguished_name import write_name
from pyserve.wire.codec import TlsPeer

MAX_CHAIN_BYTES = 32 * 1024
MAX_SERVER_CERT_BYTES = 8 * 1024
"""Of these the part of a request that is the same for a connection is made, which has a limit of 64 KiB."""
_MAX_NAME_CHARACTERS = 4096

# What the registry of TLS calls them (RFC 8446 §B.4, RFC 5289, RFC 7905).
_CIPHER_NUMBERS = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
}
_VERSION_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def describe(ssl_object: ssl.SSLObject, identity: Identity) -> TlsPeer:
    """Return what applications are told of a connection: the same for all its requests."""
    cipher = ssl_object.cipher()
    cipher_name = cipher[0] if cipher else ""
    version = _VERSION_NUMBERS.get(ssl_object.version() or "", 0)
    number = _CIPHER_NUMBERS.get(cipher_name, 0)
    if identity.tls.client_auth == "none":
        return TlsPeer(version, number, cipher_name)
    leaf = identity.leaf
    server_cert = leaf if len(leaf) <= MAX_SERVER_CERT_BYTES else None
    return _with_client(TlsPeer(version, number, cipher_name, True, server_cert), ssl_object)


def _with_client(tls: TlsPeer, ssl_object: ssl.SSLObject) -> TlsPeer:
    found = ssl_object.getpeercert()
    der = ssl_object.getpeercert(binary_form=True)
    if not found or der is None:
        return tls
    chain = [ssl.DER_cert_to_PEM_cert(der)]
    own = getattr(ssl_object, "_sslobj", None)
    verified = own.get_verified_chain() if own is not None and hasattr(own, "get_verified_chain") else ()
    for certificate in verified[1:]:
        pem = certificate.public_bytes()
        if sum(map(len, chain)) + len(pem) > MAX_CHAIN_BYTES:
            break  # LIMIT: what identifies the client has its place; who issued it may not
        chain.append(pem)
    if len(chain[0]) > MAX_CHAIN_BYTES:
        return tls._replace(client_error="the client's certificate is too long to be handed on")
    return tls._replace(client_chain=tuple(chain), client_name=write_name(found["subject"])[:_MAX_NAME_CHARACTERS])  # type: ignore[arg-type]
