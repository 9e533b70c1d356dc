"""Private keys and certificates as bytes: made, read, and proved to belong together.

I/O: none but chance for keys. Invariant: what ``prove`` has passed can be served as it is.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Collection

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pyserve.acme.schedule import Certificate

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Unfit(Exception):
    """What an authority has sent can't be served. The text says why."""


def make_key(kind: str) -> bytes:
    """Return a private key in PEM. ``kind``: as in the config, "ecdsa-p256" …"""
    key: PrivateKey
    if kind.startswith("rsa-"):
        key = rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))
    else:
        key = ec.generate_private_key(ec.SECP384R1() if kind == "ecdsa-p384" else ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read(bundle: bytes) -> tuple[Certificate, bytes] | None:
    """Return what is in a file of key and chain, and the first certificate in PEM; None: nothing that can be served."""
    try:
        chain = x509.load_pem_x509_certificates(bundle)
        key = serialization.load_pem_private_key(bundle, password=None)
    except (ValueError, TypeError):
        return None
    if key.public_key() != chain[0].public_key():
        return None
    return _describe(chain[0]), chain[0].public_bytes(serialization.Encoding.PEM)


def prove(key_pem: bytes, chain_pem: bytes, names: Collection[str], now: float) -> tuple[bytes, Certificate]:
    """Return the file of a new certificate and what is in it. Raises ``Unfit``."""
    bundle = key_pem.rstrip(b"\n") + b"\n" + chain_pem.strip() + b"\n"
    found = read(bundle)
    if found is None:
        raise Unfit("the authority has sent a certificate that does not belong to its key")
    certificate = found[0]
    if missing := frozenset(names) - certificate.names:
        raise Unfit(f"the authority has sent a certificate without {', '.join(sorted(missing))}")
    if certificate.not_after_s <= now:
        raise Unfit("the authority has sent a certificate that has ended already, or our clock is wrong")
    return bundle, certificate


def renewal_id(certificate_pem: bytes) -> str:
    """Return what an authority calls a certificate when it is asked about its renewal (RFC 9773 §4.1)."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = certificate.serial_number
    # As in DER: big-endian with room for a sign.
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return ".".join(base64.urlsafe_b64encode(part or b"").decode().rstrip("=") for part in (issuer, number))


def _describe(certificate: x509.Certificate) -> Certificate:
    names: set[str] = set()
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        pass
    else:
        names.update(name.lower() for name in found.get_values_for_type(x509.DNSName))
        names.update(str(address) for address in found.get_values_for_type(x509.IPAddress))
    return Certificate(
        frozenset(names), certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def split_names(names: Collection[str]) -> tuple[list[str], list[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Return host names and addresses apart, as a request for a certificate has them."""
    hosts: list[str] = []
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for name in names:
        try:
            addresses.append(ipaddress.ip_address(name))
        except ValueError:
            hosts.append(name)
    return hosts, addresses
