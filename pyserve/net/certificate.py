"""Certificates as files: read, judged, and ready to be handed to whoever makes the handshakes.

I/O: reads files. Used by the master's prover, which may read keys that fronts may not, and by ``check``; parses what
others wrote, so it never runs in the master itself. Invariant: what is returned was accepted by the TLS library too.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pyserve.config.model import Tls
from pyserve.errors import CannotStart
from pyserve.net.tls import Material, build_context

LOCAL_DAYS = 90
"""Of certificates of a local authority, which are made anew at every start, and again before they end."""
MAX_FILE_BYTES = 1024 * 1024


class Unfit(Exception):
    """A site can't be served with these files; the text says why, and never what is in a key."""


class Proved(NamedTuple):
    material: Material
    names: tuple[str, ...]
    """What it is for: host names and addresses."""
    issuer: str
    not_before_s: int
    not_after_s: int
    """Seconds since 1970."""


def prove(tls: Tls, hosts: Sequence[str]) -> Proved:
    """Read a site's files and return what they hold. Raises ``Unfit``. Dates are told, not judged."""
    if tls.local_ca:
        chain_pem, key_pem = _from_local_authority(tls.local_ca, hosts)
    else:
        chain_pem = _read(tls.cert, "certificate")
        key_pem = chain_pem if tls.key == tls.cert else _read(tls.key, "key")
    client_ca_pem = _read(tls.client_ca, "client_ca") if tls.client_ca else b""
    chain = _certificates(chain_pem, tls.cert)
    if tls.client_ca:
        client_ca_pem = _join(_certificates(client_ca_pem, tls.client_ca))
    leaf = chain[0]
    key = _key(key_pem, tls.key)
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != leaf.public_key().public_bytes(*spki):
        if any(key.public_key().public_bytes(*spki) == other.public_key().public_bytes(*spki) for other in chain[1:]):
            raise Unfit(f"{tls.cert}: the site's own certificate has to be the first in the file")
        raise Unfit(f"the key {tls.key} does not belong to the certificate {tls.cert}")
    raw_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    material = Material(_join(chain), raw_key, client_ca_pem)
    try:
        build_context(material, tls.client_auth, tls.min_version)
    except (ssl.SSLError, OSError) as error:
        raise Unfit(f"{tls.cert}: {_words(error)}") from None
    return Proved(
        material,
        _names(leaf),
        leaf.issuer.rfc4514_string()[:200],
        int(leaf.not_valid_before_utc.timestamp()),
        int(leaf.not_valid_after_utc.timestamp()),
    )


def _from_local_authority(folder: str, hosts: Sequence[str]) -> tuple[bytes, bytes]:
    from pyserve.net import local_authority

    folder = _authority_folder(folder)
    try:
        authority = local_authority.open_authority(folder)
        names = [local_authority.general_name(host) for host in hosts if not host.startswith("~")]
        return local_authority.issue(authority, names, LOCAL_DAYS)
    except (CannotStart, ValueError) as error:
        raise Unfit(str(error)) from None
    except OSError as error:
        raise Unfit(f"the local authority {folder} can't be made or read: {error.strerror}") from None


def _authority_folder(folder: str) -> str:
    from pyserve.net import local_authority

    return local_authority.default_folder() if folder == "~" else folder


def why_not_local(tls: Tls, hosts: Sequence[str]) -> str:
    """Return why a site gets no certificate of its local authority; "" = it will. Makes nothing, as ``prove`` does."""
    from pyserve.net import local_authority

    try:
        for host in hosts:
            if not host.startswith("~"):
                local_authority.general_name(host)
    except ValueError as error:
        return str(error)
    return local_authority.why_not_opened(_authority_folder(tls.local_ca))


def covers(names: Sequence[str], host: str) -> bool:
    """Is a certificate with these names good for a host of the config (exact, or a wildcard itself)?"""
    if host.startswith("~"):
        return True  # nobody can tell
    host = host.strip("[]")
    parent = host.partition(".")[2]
    return host in names or bool(parent and f"*.{parent}" in names)


def not_for(names: Sequence[str], hosts: Sequence[str]) -> str:
    """Return which of a site's hosts a certificate with these names is not for, in words; "" = it is for all."""
    missing = [host for host in hosts if not covers(names, host)]
    there = ", ".join(names[:6])[:600] or "nothing"
    return f"is for {there}, not for {', '.join(missing[:6])}" if missing else ""


def _read(path: str, what: str) -> bytes:
    try:
        # Not blocking: to open a pipe that nobody writes to would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unfit(f"the {what} {path} is no regular file")
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise Unfit(f"no such file: {path} ({what})") from None
    except OSError as error:
        raise Unfit(f"the {what} {path} can't be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise Unfit(f"the {what} {path} is larger than {MAX_FILE_BYTES >> 20} MiB")
    if not data.strip():
        expected = "; expected certificates of authorities, in PEM format" if what == "client_ca" else ""
        raise Unfit(f"the {what} {path} is empty{expected}")
    return data


def _certificates(data: bytes, path: str) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise Unfit(f"{path} has no certificate in PEM format (a line -----BEGIN CERTIFICATE-----)")
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Unfit(f"{path}: a certificate in it can't be read: it is cut or damaged, or of an unknown kind") from None


def _key(data: bytes, path: str) -> PrivateKeyTypes:
    # Certificates may stand before the key in the same file; the library takes the first block otherwise.
    at = data.find(b"PRIVATE KEY-----")
    if at < 0:
        raise Unfit(f"{path} has no private key in PEM format (a line -----BEGIN PRIVATE KEY-----)")
    begin = data.rfind(b"-----BEGIN ", 0, at)
    if b"EC PARAMETERS" in data[:begin]:
        begin = data.find(b"-----BEGIN ", begin)
    try:
        return serialization.load_pem_private_key(data[begin:], None)
    except TypeError:
        raise Unfit(f"the key {path} has a passphrase; write it without (openssl pkey -in {path} -out …)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unfit(f"the key {path} can't be read: it is damaged, or of an unknown kind") from None


def _join(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = [name.lower() for name in extension.get_values_for_type(x509.DNSName)]
    return (*names, *(str(address) for address in extension.get_values_for_type(x509.IPAddress)))


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)
