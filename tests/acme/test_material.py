"""Keys and certificates as bytes, and the certificate that answers a tls-alpn-01 challenge."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pyserve.acme import challenge_certificate, material

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
ISSUER = x509.SubjectKeyIdentifier(b"\x69\x88\x5b\x6b\x87\x46\x40\x41\xe1\xb3\x7b\x84\x7b\xa0\xae\x2c\xde\x01\xc8\xd4")


def chain(key_pem: bytes, names: list[str], *, days: int = 90, serial: int = 0x87654321) -> bytes:
    key = serialization.load_pem_private_key(key_pem, password=None)
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), serial)  # type: ignore[arg-type]
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ISSUER), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def test_key_and_chain_in_one_file_are_what_ssl_takes(kind: str, tmp_path: Path) -> None:
    key = material.make_key(kind)
    bundle, found = material.prove(key, chain(key, ["a.com", "b.com"]), ["a.com", "b.com"], NOW.timestamp())
    assert found == (frozenset({"a.com", "b.com"}), NOW.timestamp(), NOW.timestamp() + 90 * 86400)
    (tmp_path / "a.pem").write_bytes(bundle)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "a.pem")


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [(["a.com"], 90, "without b.com"), (["a.com", "b.com"], 1, "ended already")],
)
def test_a_certificate_that_could_not_be_served_is_refused(names: list[str], days: int, words: str) -> None:
    key = material.make_key("ecdsa-p256")
    later = NOW.timestamp() + 2 * 86400
    with pytest.raises(material.Unfit, match=words):
        material.prove(key, chain(key, names, days=days), ["a.com", "b.com"], later)


def test_a_certificate_of_another_key_is_refused() -> None:
    other = chain(material.make_key("ecdsa-p256"), ["a.com"])
    with pytest.raises(material.Unfit, match="does not belong to its key"):
        material.prove(material.make_key("ecdsa-p256"), other, ["a.com"], NOW.timestamp())


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_broken_is_taken_for_none(data: bytes) -> None:
    assert material.read(data) is None
    assert material.read(material.make_key("ecdsa-p256") + data) is None


def test_a_certificate_is_named_as_rfc_9773_does_in_its_example() -> None:
    pem = chain(material.make_key("ecdsa-p256"), ["a.com"])
    assert material.renewal_id(pem) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_the_answer_of_tls_alpn_has_the_digest_in_a_critical_extension() -> None:
    data = challenge_certificate.make("a.com", "token.thumbprint", NOW)
    certificate = x509.load_pem_x509_certificate(data)
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert extension.critical
    assert extension.value.public_bytes() == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.com"]


def test_names_and_addresses_are_asked_for_apart() -> None:
    hosts, addresses = material.split_names(["a.com", "127.0.0.1", "::1"])
    assert hosts == ["a.com"]
    assert [str(address) for address in addresses] == ["127.0.0.1", "::1"]
