"""Client certificates: a site that asks for one is never served without, by whatever way a client comes (C3, E3)."""

from __future__ import annotations

import ast
import json
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.site import Site, StartSite
from tests.support.tls_client import TlsClient, alert_of, client_context

CA, MEMBERS, OTHERS = Authority(), Authority("Members CA"), Authority("Others CA")

SITES = """
[site.open]
hosts = ["open.test"]
respond = { body = "open" }
tls = { cert = "a.pem", key = "a.key" }

[site.members]
hosts = ["members.test"]
app = "wsgi"
tls = { cert = "a.pem", key = "a.key", client_ca = "members.pem" }

[site.also]
hosts = ["also.test"]
respond = { body = "also" }
tls = { cert = "a.pem", key = "a.key", client_ca = "members.pem" }

[site.maybe]
hosts = ["maybe.test"]
app = "asgi"
tls = { cert = "a.pem", key = "a.key", client_ca = "members.pem", client_auth = "optional" }

[site.others]
hosts = ["others.test"]
respond = { body = "others" }
tls = { cert = "a.pem", key = "a.key", client_ca = "others.pem" }

[site.empty]
hosts = ["empty.test"]
respond = { body = "secret" }
tls = { cert = "a.pem", key = "a.key", client_ca = "empty.pem" }

[site.garbage]
hosts = ["garbage.test"]
respond = { body = "secret" }
tls = { cert = "a.pem", key = "a.key", client_ca = "garbage.pem" }

[site.missing]
hosts = ["missing.test"]
respond = { body = "secret" }
tls = { cert = "a.pem", key = "a.key", client_ca = "missing.pem" }

[app.asgi]
entry = "trial_asgi:application"
root = "APPS"
workers = 1

[app.wsgi]
entry = "trial_wsgi:application"
root = "APPS"
workers = 1
"""
NEEDED = ("sslv3 alert handshake failure", "tlsv13 alert certificate required", "closed")
REFUSED = ("empty", "garbage", "missing")


@pytest.fixture
def site(start_site: StartSite, tmp_path: Path) -> Site:
    names = ("open", "members", "also", "maybe", "others", *REFUSED)
    CA.write(tmp_path, "a", *(f"{name}.test" for name in names))
    (tmp_path / "members.pem").write_bytes(MEMBERS.pem)
    (tmp_path / "others.pem").write_bytes(OTHERS.pem)
    (tmp_path / "empty.pem").write_bytes(b"\n")
    (tmp_path / "garbage.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
    MEMBERS.write(tmp_path, "alice", 'Alice, of "Tests"')
    OTHERS.write(tmp_path, "mallory", "mallory")
    site = start_site(SITES, server='https = "127.0.0.1:0"')
    site.expect_error(*(f"site {name}: refused on https: .*{name}.pem" for name in REFUSED))
    return site


def context(site: Site, who: str = "", version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    identity = (site.folder / f"{who}.pem", site.folder / f"{who}.key") if who else None
    return client_context(CA.pem, identity=identity, version=version)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_site_that_asks_for_a_certificate_is_not_had_without(site: Site, version: ssl.TLSVersion) -> None:
    nobody, alice, mallory = (context(site, who, version) for who in ("", "alice", "mallory"))
    assert alert_of(site.https, nobody, "members.test") in NEEDED
    assert alert_of(site.https, mallory, "members.test") in ("tlsv1 alert unknown ca", "closed")
    assert alert_of(site.https, alice, "others.test") in ("tlsv1 alert unknown ca", "closed")
    with TlsClient(site.https, mallory, "others.test") as client:
        assert client.get("/", "others.test").text == "others"
    for name in REFUSED:
        assert alert_of(site.https, alice, f"{name}.test") == "tlsv1 unrecognized name"

    with TlsClient(site.https, alice, "members.test") as client:
        environ = json.loads(client.get("/show-environ", "members.test", **{"SSL-Client-S-DN": "CN=root"}).text)
        assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
        assert environ["SSL_CLIENT_S_DN"] == r"CN=Alice\, of \"Tests\",O=Tests\, Inc."
        assert environ["SSL_CLIENT_CERT"] == (site.folder / "alice.pem").read_text()
        assert client.get("/", "also.test").text == "also"  # asks for the very same
        for host in ("open", "maybe", "others", *REFUSED):
            assert client.get("/", f"{host}.test").status == 421, host
    with TlsClient(site.https, nobody, "open.test") as client:
        assert client.get("/", "open.test").text == "open"
        for host in ("members", "also", "maybe", "others", *REFUSED):
            assert client.get("/", f"{host}.test").status == 421, host
    assert site.status()["fronts"][0]["tls"]["failed"]["client_certificate"] == 3


def test_an_application_may_decide_what_to_do_without_a_certificate(site: Site) -> None:
    def extension(who: str) -> dict[str, object]:
        with TlsClient(site.https, context(site, who), "maybe.test") as client:
            found = json.loads(client.get("/show-scope", "maybe.test").text)["extensions"]
            return dict(ast.literal_eval(found)["tls"])

    alone = extension("")
    assert (alone["client_cert_chain"], alone["client_cert_name"]) == ([], None)
    shown = extension("alice")
    assert shown["client_cert_chain"] == [(site.folder / "alice.pem").read_text(), MEMBERS.pem.decode()]
    assert shown["client_cert_name"] == r"CN=Alice\, of \"Tests\",O=Tests\, Inc."
    assert shown["server_cert"] == (site.folder / "a.pem").read_text()
    assert alert_of(site.https, context(site, "mallory"), "maybe.test") in ("tlsv1 alert unknown ca", "closed")


def session_of(site: Site, tls: ssl.SSLContext, name: str) -> ssl.SSLSession | None:
    with TlsClient(site.https, tls, name) as client:
        client.get("/", name)
        return client.tls.session


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_session_of_one_site_opens_no_other(site: Site, version: ssl.TLSVersion) -> None:
    """CVE-2025-23419 of nginx: a ticket of a site without client certificates, used on one with."""
    nobody = context(site, "", version)
    session = session_of(site, nobody, "open.test")
    assert session is not None
    with TlsClient(site.https, nobody, "open.test", session=session) as client:
        assert client.tls.session_reused  # it is a good one
        assert client.get("/", "open.test").text == "open"
    for name in ("members.test", "others.test"):
        assert alert_of(site.https, nobody, name, session) in NEEDED
    # And who was let in with a certificate gets nothing to come back without it.
    alice = context(site, "alice", version)
    session = session_of(site, alice, "also.test")
    with TlsClient(site.https, alice, "also.test", session=session) as client:
        assert not client.tls.session_reused
        assert client.get("/", "also.test").text == "also"


def test_no_other_way_leads_to_a_site_that_asks_for_a_certificate(start_site: StartSite, tmp_path: Path) -> None:
    CA.write(tmp_path, "a", "members.test", "clear.test")
    (tmp_path / "members.pem").write_bytes(MEMBERS.pem)
    tls = 'cert = "a.pem", key = "a.key", client_ca = "members.pem"'
    site = start_site(
        f"""
[site.members]
hosts = ["members.test"]
respond = {{ body = "secret" }}
tls = {{ {tls} }}

[site.clear]
hosts = ["clear.test"]
respond = {{ body = "secret" }}
tls = {{ {tls}, redirect = false }}
""",
        server='https = "127.0.0.1:0"\ntrusted_proxies = ["127.0.0.1"]',
    )
    assert site.get("/", "members.test").status == 308
    for said in ({"X-Forwarded-Proto": "https"}, {"Forwarded": "proto=https;for=192.0.2.1"}):
        assert site.get("/", "members.test", **said).status == 421
        assert site.get("/", "clear.test", **said).status == 421
    assert site.get("/", "clear.test").status == 421
