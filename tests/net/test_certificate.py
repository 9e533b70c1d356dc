"""Certificates as files: what is good is handed on, what is not is refused with its reason, and never with a key."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pyserve.config.model import Tls
from pyserve.net.certificate import MAX_FILE_BYTES, Proved, Unfit, covers, prove
from pyserve.net.tls import Material, build_context
from tests.support.certificates import PEM, Authority, key_pem

CA = Authority()
CERT, KEY = CA.issue("a.test", "*.a.test", "127.0.0.1")
GARBAGE = b"-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"


def proved(folder: Path, cert: bytes | None, key: bytes | None, client_ca: bytes | None = b"", **more: str) -> Proved:
    """b"" = not named, None = named and missing."""
    tls = Tls(str(folder / "a.pem"), str(folder / "a.key"), **more)  # type: ignore[arg-type]
    for name, data in (("a.pem", cert), ("a.key", key), ("ca.pem", client_ca)):
        if data:
            (folder / name).write_bytes(data)
    if client_ca != b"":
        tls = tls._replace(client_ca=str(folder / "ca.pem"), client_auth="required")
    return prove(tls, ("a.test",))


def sec1(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
GOOD = {
    "two files": (CERT, KEY, b""),
    "with a chain": (CERT + CA.pem, KEY, b""),
    "with text around": (b"Subject: a\n\n" + CERT + b"\nbye\n", b"Bag Attributes\n" + KEY, b""),
    "the key as openssl ecparam writes it": (CERT, EC_PARAMETERS + sec1(KEY), b""),
    "with authorities of clients": (CERT, KEY, CA.pem + Authority("b").pem),
}


@pytest.mark.parametrize(("cert", "key", "client_ca"), GOOD.values(), ids=GOOD)
def test_what_is_good_makes_a_context(tmp_path: Path, cert: bytes, key: bytes, client_ca: bytes) -> None:
    found = proved(tmp_path, cert, key, client_ca)
    assert found.names == ("a.test", "*.a.test", "127.0.0.1")
    assert found.not_before_s < found.not_after_s
    context = build_context(found.material, "required" if client_ca else "none", "1.2", ("http/1.1",))
    assert context.verify_mode == (ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE)
    assert context.num_tickets == (0 if client_ca else 1)
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert KEY.decode() not in repr(found)


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    for data in (CERT + KEY, KEY + CERT + CA.pem):
        (tmp_path / "both.pem").write_bytes(data)
        assert prove(Tls(str(tmp_path / "both.pem"), str(tmp_path / "both.pem")), ()).names[0] == "a.test"


OTHER_KEY = CA.issue("b.test")[1]
WEAK = rsa.generate_private_key(65537, 1024).private_bytes(
    PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
BAD = {
    "no certificate": (None, KEY, b"", "no such file: .*a.pem"),
    "no key": (CERT, None, b"", "no such file: .*a.key"),
    "an empty file": (b" \n", KEY, b"", "a.pem is empty"),
    "a huge file": (CERT + b"\n" * MAX_FILE_BYTES, KEY, b"", "larger than 1 MiB"),
    "a certificate that is none": (GARBAGE, KEY, b"", "a certificate in it can't be read: it is cut or damaged, or"),
    "a certificate that was cut": (
        CERT[:200] + b"\n-----END CERTIFICATE-----\n",
        KEY,
        b"",
        "it is cut or damaged, or of an unknown kind$",
    ),
    "a certificate without an end": (
        CERT[:200],
        KEY,
        b"",
        "it is cut or damaged, or of an unknown kind$",
    ),
    "DER": (b"\x30\x82\x01\x00", KEY, b"", "has no certificate in PEM format"),
    "a key for a certificate": (KEY, KEY, b"", "has no certificate in PEM format"),
    "a certificate for a key": (CERT, CERT, b"", "has no private key in PEM format"),
    "another key": (CERT, OTHER_KEY, b"", "the key .*a.key does not belong to the certificate"),
    "the chain the wrong way round": (CA.pem + CERT, KEY, b"", "has to be the first in the file"),
    "a passphrase": (CERT, key_pem(ec.generate_private_key(ec.SECP256R1()), b"x"), b"", "has a passphrase"),
    "a damaged key": (CERT, KEY[:80] + b"\n-----END PRIVATE KEY-----\n", b"", "can't be read: it is damaged"),
    "a weak key": (CERT, WEAK, b"", "does not belong"),
    "no authorities": (CERT, KEY, None, "no such file: .*ca.pem"),
    "empty authorities": (CERT, KEY, b"\n", "ca.pem is empty; expected certificates of authorities, in PEM format$"),
    "authorities that are garbage": (CERT, KEY, GARBAGE, "ca.pem: a certificate in it can't be read"),
}


@pytest.mark.parametrize(("cert", "key", "client_ca", "reason"), BAD.values(), ids=BAD)
def test_what_is_unfit_is_refused_with_its_reason(
    tmp_path: Path, cert: bytes | None, key: bytes | None, client_ca: bytes | None, reason: str
) -> None:
    with pytest.raises(Unfit, match=reason) as raised:
        proved(tmp_path, cert, key, client_ca)
    secret = b"".join(KEY.splitlines()[1:-1]).decode()
    assert secret[:20] not in str(raised.value)


def test_pipes_and_folders_are_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "a.pem").mkdir()
    with pytest.raises(Unfit, match=r"a\.pem is no regular file|can't be read"):
        proved(tmp_path, b"", KEY)


def test_the_library_has_the_last_word(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError):
        build_context(Material(CERT, OTHER_KEY), "none", "1.2")


@pytest.mark.parametrize(
    ("curve", "is_offered"), [("X25519", True), ("prime256v1", True), ("secp384r1", True), ("secp521r1", False)]
)
def test_only_the_curves_of_the_profile_are_offered(curve: str, is_offered: bool) -> None:
    client_side = ssl.create_default_context(cadata=CA.pem.decode())
    client_side.minimum_version = ssl.TLSVersion.TLSv1_3
    client_side.set_ecdh_curve(curve)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname="a.test")
    server = build_context(Material(CERT, KEY), "none", "1.2").wrap_bio(to_server, to_client, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    # The first flight of the server is made, or it has no answer to what the client can do.
    with pytest.raises(ssl.SSLWantReadError if is_offered else ssl.SSLError) as raised:
        server.do_handshake()
    assert isinstance(raised.value, ssl.SSLWantReadError) == is_offered


def test_a_local_authority_is_made_once_and_used_by_all(tmp_path: Path) -> None:
    tls = Tls(local_ca=str(tmp_path / "ca"))
    first, second = (prove(tls, ("a.localhost", "*.b.localhost", "~x")) for _ in range(2))
    assert first.names == second.names == ("a.localhost", "*.b.localhost")
    assert first.material.chain != second.material.chain
    assert first.issuer == second.issuer
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ca/ca.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "ca/ca.key").write_bytes(OTHER_KEY)
    with pytest.raises(Unfit, match=r"does not belong to .*ca\.pem; move .*ca away"):
        prove(tls, ("a.localhost",))
    (tmp_path / "ca/ca.key").write_bytes(b"-----BEGIN")
    with pytest.raises(Unfit, match=r"can't be read: it is cut or damaged; move .*ca away, and a new one is made$"):
        prove(tls, ("a.localhost",))
    (tmp_path / "ca/ca.key").unlink()
    with pytest.raises(Unfit, match=r"half of the local authority is missing: .*ca\.key"):
        prove(tls, ("a.localhost",))


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        ("a.test", True),
        ("x.a.test", True),
        ("*.a.test", True),
        ("x.y.a.test", False),
        ("b.test", False),
        ("127.0.0.1", True),
        ("[::1]", False),
        ("~anything", True),
    ],
)
def test_which_hosts_a_certificate_is_for(host: str, is_covered: bool) -> None:
    assert covers(("a.test", "*.a.test", "127.0.0.1"), host) == is_covered
