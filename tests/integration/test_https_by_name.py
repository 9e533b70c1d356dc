"""https: the name that the client sends decides certificate and settings, before anything else is known of it."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, request
from tests.support.site import Site, StartSite
from tests.support.tls_client import TlsClient, alert_of, client_context

CA = Authority()
ANYBODY = client_context(None)
STRICT = client_context(CA.pem)

SITES = """
[site.a]
hosts = ["a.test", "127.0.0.1"]
files = "public"
tls = { cert = "a.pem", key = "a.key", hsts = { max_age = "365d", subdomains = true } }

[site.asgi]
hosts = ["asgi.test"]
app = "asgi"
tls = { cert = "a.pem", key = "a.key" }

[site.wsgi]
hosts = ["wsgi.test"]
app = "wsgi"
tls = { cert = "a.pem", key = "a.key" }

[site.wild]
hosts = ["*.wild.test"]
respond = { body = "wild" }
tls = { cert = "wild.pem", key = "wild.key", redirect = false }

[site.new]
hosts = ["new.test"]
respond = { body = "new" }
tls = { cert = "new.pem", key = "new.key", min_version = "1.3" }

[site.plain]
hosts = ["plain.test"]
respond = { body = "plain" }

[site.broken]
hosts = ["broken.test"]
respond = { body = "secret" }
tls = { cert = "broken.pem", key = "broken.key" }

[app.asgi]
entry = "trial_asgi:application"
root = "APPS"

[app.wsgi]
entry = "trial_wsgi:application"
root = "APPS"
"""
BIG = os.urandom(1 << 20) * 3 + b"the end"


def write_materials(folder: Path) -> None:
    (folder / "public").mkdir()
    (folder / "public/small.txt").write_bytes(b"small\n")
    (folder / "public/big.bin").write_bytes(BIG)
    CA.write(folder, "a", "a.test", "asgi.test", "wsgi.test", "127.0.0.1")
    CA.write(folder, "wild", "*.wild.test")
    CA.write(folder, "new", "new.test")
    CA.write(folder, "broken", "broken.test")
    (folder / "broken.key").write_bytes(CA.issue("other.test")[1])


@pytest.fixture
def site(start_site: StartSite, tmp_path: Path) -> Site:
    write_materials(tmp_path)
    site = start_site(SITES, server='https = "127.0.0.1:0"', limits='head_timeout = "2s"')
    site.expect_error(r"site broken: refused on https: the key .*broken.key does not belong to the certificate")
    return site


def get(site: Site, name: str, path: str = "/", context: ssl.SSLContext = STRICT) -> str:
    with TlsClient(site.https, context, name) as client:
        return client.get(path, name).text


def test_each_site_has_its_own_certificate_and_content(site: Site) -> None:
    with TlsClient(site.https, STRICT, "a.test") as client:
        answer = client.get("/small.txt", "a.test")
        assert (answer.status, answer.body) == (200, b"small\n")
        assert answer.field("strict-transport-security") == "max-age=31536000; includeSubDomains"
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        assert client.tls.version() == "TLSv1.3"
        assert client.get("/small.txt", "a.test").body == b"small\n"  # kept alive
        assert client.get("/missing", "a.test").field("strict-transport-security")
    assert get(site, "x.wild.test") == "wild"
    assert get(site, "new.test") == "new"
    # An address is no name that clients send; the certificate is that of the site which has it as a host.
    with TlsClient(site.https, STRICT, "127.0.0.1") as client:
        assert client.get("/small.txt", "127.0.0.1").body == b"small\n"
    old = client_context(CA.pem, version=ssl.TLSVersion.TLSv1_2)
    with TlsClient(site.https, old, "a.test") as client:
        assert client.get("/small.txt", "a.test").status == 200
        assert client.tls.version() == "TLSv1.2"
    assert get(site, "a.test", "/small.txt", client_context(CA.pem, protocols=())) == "small\n"
    # Over clear text there is no such promise to be made.
    assert site.get("/small.txt", "x.wild.test").field("strict-transport-security") is None


def test_who_can_not_be_served_is_told_so_before_anything_is_computed(site: Site) -> None:
    assert alert_of(site.https, ANYBODY, "nobody.test") == "tlsv1 unrecognized name"
    assert alert_of(site.https, ANYBODY, "plain.test") == "tlsv1 unrecognized name"
    assert alert_of(site.https, ANYBODY, "broken.test") == "tlsv1 unrecognized name"
    assert alert_of(site.https, ANYBODY, "wild.test") == "tlsv1 unrecognized name"
    other = client_context(None, protocols=("spdy/3", "imap"))
    assert alert_of(site.https, other, "a.test") == "tlsv1 alert no application protocol"
    old = client_context(None, version=ssl.TLSVersion.TLSv1_2)
    assert alert_of(site.https, old, "new.test") == "tlsv1 alert protocol version"
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.warns(DeprecationWarning, match="TLSVersion"):
            ancient = client_context(None, version=version)
        ancient.set_ciphers("ALL:@SECLEVEL=0")
        assert alert_of(site.https, ancient, "a.test") == "tlsv1 alert protocol version"
    few = client_context(None, version=ssl.TLSVersion.TLSv1_2)
    few.set_ciphers("AES256-SHA")
    assert alert_of(site.https, few, "a.test") == "sslv3 alert handshake failure"
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsClient(site.https, ssl.create_default_context(), "a.test")
    site.wait_line(r"no handshake with 127\.0\.0\.1: it does not trust our certificate \(.* alert unknown ca\)")
    status = site.status()
    assert status["sites"]["broken"]["state"] == "degraded"
    assert "does not belong to the certificate" in status["sites"]["broken"]["reason"]
    assert status["sites"]["a"] == {"state": "serving", "reason": ""}
    certificates = status["certificates"]
    assert certificates["a"]["names"] == ["a.test", "asgi.test", "wsgi.test", "127.0.0.1"]
    assert 88 <= certificates["a"]["days_left"] <= 90
    assert certificates["broken"]["fault"]
    (front,) = status["fronts"]
    assert front["tls"]["failed"]["unknown_name"] == 3
    assert front["tls"]["failed"]["refused"] == 1
    assert front["tls"]["failed"]["no_protocol"] == 1
    assert front["tls"]["failed"]["old_version"] == 3
    assert front["tls"]["failed"]["no_shared_cipher"] == 1
    assert front["tls"]["failed"]["untrusted"] == 1
    assert front["tls"]["failed"]["other"] == 0


def test_who_sends_no_name_is_told_which_site_would_have_been_meant(start_site: StartSite, tmp_path: Path) -> None:
    CA.write(tmp_path, "a", "a.test")
    text = '[site.a]\nhosts = ["a.test"]\nrespond = { body = "" }\ntls = { cert = "a.pem", key = "a.key" }\n'
    site = start_site(text, server='https = "127.0.0.1:0"')
    assert alert_of(site.https, ANYBODY, "") == "tlsv1 unrecognized name"
    site.wait_line("it sent no name, and no site on https has the address 127.0.0.1 in hosts or is the default")


def test_a_connection_reaches_only_sites_that_its_handshake_is_good_for(site: Site) -> None:
    with TlsClient(site.https, STRICT, "a.test") as client:
        # Same settings, and a certificate that has been proved: as every server lets it be.
        assert client.get("/", "x.wild.test").text == "wild"
        for host in ("new.test", "plain.test", "broken.test", "nobody.test"):
            assert client.get("/", host).status == 421, host
        assert client.get("/small.txt", "a.test").status == 200
    with TlsClient(site.https, STRICT, "new.test") as client:
        assert client.get("/small.txt", "a.test").status == 421
    # What was kept ready for one must not be found by another.
    for _ in range(3):
        assert get(site, "new.test") == "new"
        with TlsClient(site.https, STRICT, "a.test") as client:
            assert client.get("/", "new.test").status == 421


def test_plain_http_is_sent_to_https(site: Site) -> None:
    port = site.https[1]
    answer = site.get("/x%20y/%C3%A4?q=1&r", "A.test:80")
    assert (answer.status, answer.field("location")) == (308, f"https://a.test:{port}/x%20y/%C3%A4?q=1&r")
    assert site.get("/none", "new.test").field("location") == f"https://new.test:{port}/none"
    assert site.get("/.well-known/acme-challenge/token", "a.test").status == 404
    assert site.get("/", "x.wild.test").text == "wild"  # redirect = false
    assert site.get("/", "plain.test").text == "plain"
    site.expect_error("503 GET /: site broken is refused")
    assert site.get("/", "broken.test").status == 503


def test_applications_know_that_it_is_https(site: Site) -> None:
    with TlsClient(site.https, STRICT, "asgi.test") as client:
        shown = json.loads(client.get("/show-scope", "asgi.test").text)
        scope = {name: ast.literal_eval(shown[name]) for name in ("scheme", "server", "extensions")}
        assert scope["scheme"] == "https"
        assert scope["server"] == site.https
        tls = scope["extensions"]["tls"]
        assert (tls["tls_version"], tls["client_cert_chain"], tls["client_cert_name"]) == (0x0304, [], None)
        assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    forged = {"SSL-Client-Verify": "SUCCESS", "SSL_CLIENT_S_DN": "CN=root", "X-Forwarded-Proto": "http"}
    with TlsClient(site.https, STRICT, "wsgi.test") as client:
        environ = json.loads(client.get("/show-environ", "wsgi.test", **forged).text)
        assert environ["wsgi.url_scheme"] == "https"
        assert environ["SERVER_PORT"] == str(site.https[1])
        assert (environ["HTTPS"], environ["SSL_PROTOCOL"]) == ("on", "TLSv1.3")
        assert "SSL_CLIENT_VERIFY" not in environ
        assert "SSL_CLIENT_S_DN" not in environ


def test_large_files_go_to_slow_readers_whole_and_in_bounded_memory(site: Site) -> None:
    wanted = hashlib.sha256(BIG).digest()
    with site.memory_within(12 << 20), TlsClient(site.https, STRICT, "a.test", receive_buffer=16384) as client:
        client.send(request("/big.bin", "a.test") * 2 + request("/small.txt", "a.test"))
        time.sleep(0.3)
        for _ in range(2):
            answer = client.read_response()
            assert hashlib.sha256(answer.body).digest() == wanted
        assert client.read_response().body == b"small\n"
    part = {"Range": f"bytes={len(BIG) - 7}-"}
    with TlsClient(site.https, STRICT, "a.test") as client:
        assert client.get("/big.bin", "a.test", **part).body == b"the end"


def test_uploads_arrive_whole(site: Site) -> None:
    body = os.urandom(3 << 20)
    with TlsClient(site.https, STRICT, "wsgi.test") as client:
        head = f"POST /echo HTTP/1.1\r\nHost: wsgi.test\r\nContent-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body)
        assert client.read_response().body == body


def test_half_open_handshakes_are_ended_and_hold_up_nobody(site: Site) -> None:
    with site.same_descriptors():
        idlers = [Client(site.https) for _ in range(60)]
        for number, idler in enumerate(idlers):
            idler.send((b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")[number % 3])
        assert get(site, "a.test", "/small.txt") == "small\n"
        for idler in idlers:
            assert idler.is_closed()  # head_timeout is 2 s here
            idler.close()
    assert site.status()["fronts"][0]["tls"]["failed"]["timeout"] == 40


@pytest.mark.needs("openssl")
def test_what_is_no_tls_gets_one_answer_or_none(site: Site) -> None:
    with Client(site.https) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = client.read_response()
        assert answer.status == 400
        assert "https" in answer.text
        assert client.is_closed()
    for junk in (b"SSH-2.0-x\r\n", b"\x80\x2e\x01\x03\x01" + bytes(40), os.urandom(300).replace(b"\x16", b"\0")):
        with Client(site.https) as client:
            client.send(b"\0" + junk)
            assert client.is_closed()
    hello = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{site.https[1]}", "-servername", "a.test", "-no_ticket"],
        input=b"GET /small.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert b"CN = a.test" in hello.stdout or b"CN=a.test" in hello.stdout


def test_a_hello_may_come_byte_by_byte(site: Site) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = STRICT.wrap_bio(incoming, outgoing, server_hostname="a.test")
    with Client(site.https) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    client.send(bytes((byte,)))
                incoming.write(client.socket.recv(65536))
        tls.write(b"GET /small.txt HTTP/1.1\r\nHost: a.test\r\n\r\n")
        for byte in outgoing.read():
            client.send(bytes((byte,)))
        answer = b""
        while b"small\n" not in answer:
            incoming.write(client.socket.recv(65536))
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                pass


def test_it_is_the_same_on_every_loop_and_parser(
    start_site: StartSite, tmp_path: Path, variant: dict[str, str]
) -> None:
    write_materials(tmp_path)
    text = SITES[: SITES.index("[site.broken]")]
    apps = SITES[SITES.index("[app.asgi]") :]
    site = start_site(text + apps, server='https = "127.0.0.1:0"', **variant)
    with TlsClient(site.https, STRICT, "a.test") as client:
        assert client.get("/big.bin", "a.test").body == BIG
        assert client.get("/small.txt", "a.test").body == b"small\n"
    body = os.urandom(1 << 20)
    for host in ("wsgi.test", "asgi.test"):
        with TlsClient(site.https, STRICT, host) as client:
            assert client.ask(request("/echo", host, "POST", body)).body == body
    assert alert_of(site.https, ANYBODY, "nobody.test") == "tlsv1 unrecognized name"


def test_a_proxy_may_say_who_is_behind_it(start_site: StartSite, tmp_path: Path) -> None:
    write_materials(tmp_path)
    text = SITES[: SITES.index("[site.broken]")] + SITES[SITES.index("[app.asgi]") :]
    https = 'https = { address = "127.0.0.1:0", proxy_protocol = true }\ntrusted_proxies = ["127.0.0.1"]'
    site = start_site(text, server=https)
    header = b"PROXY TCP4 192.0.2.77 192.0.2.1 4711 443\r\n"
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = STRICT.wrap_bio(incoming, outgoing, server_hostname="wsgi.test")
    with Client(site.https) as client:
        answer = b""
        client.send(header)
        tell = [
            tls.do_handshake,
            lambda: tls.write(request("/show-environ", "wsgi.test", fields={"Connection": "close"})),
        ]
        while b"}" not in answer:
            try:
                if tell:
                    tell[0]()
                    del tell[0]
                else:
                    answer += tls.read(65536)
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    client.send(outgoing.read())
                incoming.write(client.socket.recv(65536))
            else:
                if outgoing.pending:
                    client.send(outgoing.read())
    environ = json.loads(answer[answer.index(b"{") : answer.index(b"}") + 1])
    assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"], environ["HTTPS"]) == ("192.0.2.77", "443", "on")


@pytest.mark.needs("curl")
def test_curl_follows_from_http_to_the_right_site_on_https(site: Site) -> None:
    resolve = [
        word
        for name in ("a.test", "new.test")
        for port in (site.address[1], site.https[1])
        for word in ("--resolve", f"{name}:{port}:127.0.0.1")
    ]
    (site.folder / "ca.pem").write_bytes(CA.pem)
    urls = [f"http://{name}:{site.address[1]}/small.txt" for name in ("a.test", "new.test")]
    command = ["curl", "-sS", "--fail", "--location", "--cacert", str(site.folder / "ca.pem"), *resolve, *urls]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (answer.stdout, answer.stderr) == ("small\nnew", "")


def test_who_takes_nothing_of_a_large_file_is_cut(start_site: StartSite, tmp_path: Path) -> None:
    CA.write(tmp_path, "a", "a.test")
    with open(tmp_path / "huge.bin", "wb") as file:
        file.truncate(64 << 20)
    text = """
[site.a]
hosts = ["a.test"]
tls = { cert = "a.pem", key = "a.key" }

[[site.a.route]]
path = "/huge.bin"
files = "huge.bin"
"""
    site = start_site(text, server='https = "127.0.0.1:0"', limits='write_timeout = "1s"')
    with TlsClient(site.https, STRICT, "a.test", receive_buffer=16384) as client:
        client.send(request("/huge.bin", "a.test"))
        site.wait_line("cut 127.0.0.1: it took its answer too slowly", 20)
    (line,) = site.access_lines(1)
    assert '"GET /huge.bin HTTP/1.1" 200' in line
