"""An authority of one's own, for development: trusted once, it makes certificates for whatever is asked of it.

I/O: the authority's folder (0700, its key 0600), made at the first call. Invariant: a key that is there is never
replaced; of two that start together one makes it, and both use it.
"""

from __future__ import annotations

import datetime
import errno
import ipaddress
import os
import re
import shutil
import socket
import sys
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pyserve.config.places import why_not_made
from pyserve.errors import CannotStart

CA_CERT, CA_KEY = "ca.pem", "ca.key"
_CA_DAYS = 3650
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PEM = serialization.Encoding.PEM


class Authority(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_path: str
    is_new: bool


def default_folder() -> str:
    """Return where the authority of this user lives."""
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(base, "pyserve", "ca")


def open_authority(folder: str) -> Authority:
    """Return the authority in a folder, made now if there is none. Raises ``OSError``, ``CannotStart``."""
    cert_path, key_path = os.path.join(folder, CA_CERT), os.path.join(folder, CA_KEY)
    if os.path.exists(cert_path) or os.path.exists(key_path):
        return _read_authority(cert_path, key_path)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pyserve development"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"pyserve local CA of {_who()}"[:64]),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    if _put(folder, _key_pem(key), certificate.public_bytes(_PEM)):
        return Authority(certificate, key, cert_path, is_new=True)
    return _read_authority(cert_path, key_path)


def why_not_opened(folder: str) -> str:
    """Return what would keep ``open_authority`` from doing its work, having done nothing; "" = nothing."""
    cert_path, key_path = os.path.join(folder, CA_CERT), os.path.join(folder, CA_KEY)
    if not os.path.exists(cert_path) and not os.path.exists(key_path):
        # It is made beside its place, and moved there.
        reason = why_not_made(folder) or why_not_made(os.path.dirname(folder))
        return f"the local authority: {reason}" if reason else ""
    try:
        _read_authority(cert_path, key_path)
    except CannotStart as error:
        return str(error)
    except OSError as error:
        return f"the local authority {folder} can't be read: {error.strerror}"
    return ""


def _put(folder: str, key: bytes, certificate: bytes) -> bool:
    """Make the folder with both files in it, in one step; False: somebody else has just done so."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    temporary = f"{folder}.{os.getpid()}"
    os.mkdir(temporary, 0o700)
    try:
        write_file(os.path.join(temporary, CA_KEY), key, 0o600)
        write_file(os.path.join(temporary, CA_CERT), certificate, 0o644)
        os.rename(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if os.path.exists(os.path.join(folder, CA_KEY)):
            return False
        # There are other files in it.
        write_file(os.path.join(folder, CA_KEY), key, 0o600)
        write_file(os.path.join(folder, CA_CERT), certificate, 0o644)
    return True


def _read_authority(cert_path: str, key_path: str) -> Authority:
    hint = f"move {os.path.dirname(cert_path)} away, and a new one is made"
    try:
        with open(cert_path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
        with open(key_path, "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
    except FileNotFoundError as error:
        raise CannotStart(f"half of the local authority is missing: {error.filename}; {hint}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CannotStart(f"the local authority {cert_path} can't be read: it is cut or damaged; {hint}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CannotStart(f"the key {key_path} does not belong to {cert_path}; {hint}")
    if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise CannotStart(f"the local authority {cert_path} has expired; {hint}")
    return Authority(certificate, key, cert_path, is_new=False)


def issue(authority: Authority, names: Sequence[x509.GeneralName], days: int) -> tuple[bytes, bytes]:
    """Return certificate and key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    end = min(now + datetime.timedelta(days=days), authority.certificate.not_valid_after_utc)
    common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(names[0].value)[:64])])
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(common_name)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(server, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority_id, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate.public_bytes(_PEM), _key_pem(key)


def has_issued(authority: Authority, cert_path: str, key_path: str) -> bool:
    """Is there a certificate of this authority, and its key? False also where that can't be told; raises ``OSError``
    where something is there that can't be read."""
    try:
        with open(cert_path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
        with open(key_path, "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
        certificate.verify_directly_issued_by(authority.certificate)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return key.public_key() == certificate.public_key()


def general_name(host: str) -> x509.GeneralName:
    """Return a name or an address as a certificate has it. Raises ``ValueError`` with what was expected."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    name = host.lower().removesuffix(".")
    if "://" in name or "/" in name:
        raise ValueError(f"expected a name without scheme and path, as a-site.localhost, not {host!r}")
    if ":" in name:
        raise ValueError(f"expected a name without a port, as a-site.localhost, not {host!r}")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError(f"{host!r} is no host name") from None
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"expected a host name or an address, as a-site.localhost or 127.0.0.1, not {host!r}")
    return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write_file(path: str, data: bytes, mode: int) -> None:
    """In one step: whoever reads it meanwhile sees the old one or the new one, and nobody a key that is not theirs."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _who() -> str:
    try:
        import pwd

        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
