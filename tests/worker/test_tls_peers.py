"""What applications are told of an encrypted connection, and that requests in clear text are told nothing."""

from __future__ import annotations

import marshal

from pyserve.wire.codec import Head, Peer, TlsPeer, pack_head, pack_peer, pack_request, unpack_peer
from pyserve.worker.environ import _make_peer as make_environ
from pyserve.worker.scopes import Scopes

ENDS = (("192.0.2.7", 4711), ("127.0.0.1", 443))
OPEN = TlsPeer(0x0304, 0x1301, "TLS_AES_128_GCM_SHA256")
ALICE = TlsPeer(0x0303, 0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256", True, "SERVER", ("OWN", "CA"), "CN=al\u00efce")
HEAD = pack_head(Head("GET", b"/", "/", b"", "1.1", "", None, ()))


def environ(tls: TlsPeer | None) -> dict[str, object]:
    return make_environ(*marshal.loads(pack_peer(Peer(*ENDS, "https" if tls else "http", tls))))


def extension(tls: TlsPeer | None) -> dict[str, object] | None:
    blob = pack_peer(Peer(*ENDS, "https" if tls else "http", tls))
    scopes = Scopes({})
    first, second = (scopes.make(pack_request(0, blob, HEAD))["extensions"] for _ in range(2))
    assert first == second
    assert first is not second
    if tls is not None:
        assert first["tls"] is not second["tls"]  # an application may change what it was given
    found: dict[str, object] | None = first.get("tls")
    return found


def test_wsgi_gets_variables_that_no_field_can_forge() -> None:
    assert not any(name.startswith(("SSL_", "HTTPS")) for name in environ(None))
    found = environ(OPEN)
    assert (found["HTTPS"], found["SSL_PROTOCOL"], found["SSL_CIPHER"]) == ("on", "TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert not any(name.startswith("SSL_CLIENT") for name in found)
    assert environ(OPEN._replace(asks_client=True))["SSL_CLIENT_VERIFY"] == "NONE"
    found = environ(ALICE)
    assert (found["SSL_CLIENT_VERIFY"], found["SSL_CLIENT_CERT"]) == ("SUCCESS", "OWN")
    assert found["SSL_CLIENT_S_DN"] == "CN=al\u00c3\u00afce"  # bytes as latin-1, as PEP 3333 wants all text


def test_asgi_gets_the_extension() -> None:
    assert extension(None) is None
    nobody = {"server_cert": None, "client_cert_chain": [], "client_cert_name": None, "client_cert_error": None}
    assert extension(OPEN) == {**nobody, "tls_version": 0x0304, "cipher_suite": 0x1301}
    assert extension(ALICE) == {
        "server_cert": "SERVER",
        "client_cert_chain": ["OWN", "CA"],
        "client_cert_name": "CN=al\u00efce",
        "client_cert_error": None,
        "tls_version": 0x0303,
        "cipher_suite": 0xC02B,
    }


def test_a_websocket_is_told_the_same() -> None:
    for tls, scheme in ((None, "ws"), (ALICE, "wss")):
        blob = pack_peer(Peer(*ENDS, "https" if tls else "http", tls))
        scope = Scopes({}).make_websocket(pack_request(0, blob, HEAD))
        assert (scope["client"], scope["server"], scope["scheme"]) == (*ENDS, scheme)
        assert scope["extensions"].get("tls") == extension(tls)


def test_both_ends_are_read_from_either_kind_of_peer() -> None:
    for tls in (None, OPEN, ALICE):
        assert unpack_peer(pack_peer(Peer(*ENDS, "https", tls))) == (*ENDS, "https")
