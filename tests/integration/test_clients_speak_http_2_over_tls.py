"""Promise: clients as they are get HTTP/2 over TLS from two sites on one address, and may reach what they may over
HTTP/1.1."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support import trial
from tests.support.certificates import Authority
from tests.support.h2_client import H2Client, Tunnel
from tests.support.site import Site, StartSite
from tests.support.websockets import WebSocket

CA = Authority()
PAGE = b"<!doctype html><title>a page</title>" + b"x" * 500_000

SITES = f"""
{trial.app("wsgi")}
{trial.app("asgi")}

[app.sockets]
entry = "sockets_asgi:app"
root = "APPS"
workers = 1
env = {{ NOTES = "notes" }}

[site.files]
hosts = ["files.localhost"]
files = "public"
tls = {{ cert = "a.pem", key = "a.key", hsts = "30d" }}

[site.app]
hosts = ["app.localhost"]
max_body = "1MiB"
app = "asgi"
tls = {{ cert = "b.pem", key = "b.key" }}

[[site.app.route]]
path = "/wsgi/*"
app = "wsgi"
mount = true

[[site.app.route]]
path = "/socket/*"
app = "sockets"

[site.members]
hosts = ["members.localhost"]
respond = {{ body = "for members" }}
tls = {{ cert = "b.pem", key = "b.key", client_ca = "ca.pem" }}

[site.plain]
hosts = ["plain.localhost"]
respond = {{ body = "plain" }}
"""


@pytest.fixture
def site(start_site: StartSite, tmp_path: Path) -> Site:
    (tmp_path / "public").mkdir()
    (tmp_path / "public/index.html").write_bytes(PAGE)
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    CA.write(tmp_path, "a", "files.localhost")
    CA.write(tmp_path, "b", "app.localhost", "members.localhost")
    return start_site(SITES, server='https = "127.0.0.1:0"')


def context(*protocols: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=CA.pem.decode())
    made.set_alpn_protocols(list(protocols))
    return made


def connect(site: Site, name: str = "app.localhost") -> H2Client:
    return H2Client(site.https, context("h2", "http/1.1"), name)


@pytest.mark.needs("curl")
@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl(site: Site, flag: str, version: str) -> None:
    host, port = site.https
    places = [f"{name}:{port}:{host}" for name in ("files.localhost", "app.localhost")]
    resolve = [word for place in places for word in ("--resolve", place)]
    urls = [f"https://files.localhost:{port}/", f"https://app.localhost:{port}/hello"]
    common = ["curl", "-sS", "--fail", flag, "--cacert", str(site.folder / "ca.pem"), *resolve]
    done = subprocess.run([*common, *urls], capture_output=True, timeout=30, check=True)
    assert done.stdout == PAGE + b"hello from ASGI\n"
    told = subprocess.run(
        [*common, "-o", "/dev/null", "-D", "-", "-w", "%{http_version}", urls[0]],
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert told.stdout.endswith(version.encode())
    assert b"strict-transport-security: max-age=2592000" in told.stdout.lower()
    posted = subprocess.run(
        [*common, "--data-binary", "@-", f"https://app.localhost:{port}/echo"],
        input=PAGE,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert posted.stdout == PAGE


@pytest.mark.needs("curl")
@pytest.mark.parametrize("framing", ["a length", "no length"])
@pytest.mark.parametrize("host", ["app.localhost", "files.localhost"])
def test_curl_sees_why_its_upload_is_refused(site: Site, framing: str, host: str) -> None:
    address, port = site.https
    upload = site.folder / "upload"
    upload.write_bytes(bytes(8_000_000))
    source = ["-T", str(upload)] if framing == "a length" else ["-T", "-", "-X", "POST"]
    with open(upload, "rb") as file:
        done = subprocess.run(
            [
                "curl",
                "-sS",
                "--http2",
                "--cacert",
                str(site.folder / "ca.pem"),
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--resolve",
                f"{host}:{port}:{address}",
                *source,
                f"https://{host}:{port}/wsgi/echo",
            ],
            stdin=file if framing == "no length" else subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert (done.stdout, done.stderr) == (b"413" if host == "app.localhost" else b"405", b"")


@pytest.mark.needs("nghttp")
def test_nghttp(site: Site) -> None:
    host, port = site.https
    for name, path, length in [("files.localhost", "/", len(PAGE)), ("app.localhost", "/hello", 16)]:
        done = subprocess.run(
            ["nghttp", "-n", "-v", "-m", "20", "-H", f":authority: {name}", f"https://{host}:{port}{path}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "The negotiated protocol: h2" in done.stdout
        assert len(re.findall(r":status: 200", done.stdout)) == 20
        assert f"content-length: {length}" in done.stdout


def ask(
    site: Site, client: httpx.Client, name: str, path: str, method: str = "GET", content: bytes = b""
) -> httpx.Response:
    """Ask for a name that nothing here resolves."""
    url = f"https://127.0.0.1:{site.https[1]}{path}"
    return client.request(method, url, headers={"host": name}, content=content, extensions={"sni_hostname": name})


def test_httpx(site: Site) -> None:
    for name, method, path, content in [
        ("files.localhost", "GET", "/", PAGE),
        ("app.localhost", "POST", "/wsgi/echo", PAGE),
        ("app.localhost", "GET", "/hello", b"hello from ASGI\n"),
    ]:
        with httpx.Client(http2=True, verify=context("h2", "http/1.1")) as client:
            for _ in range(3):
                answer = ask(site, client, name, path, method, PAGE if method == "POST" else b"")
                assert (answer.http_version, answer.content) == ("HTTP/2", content)


def test_an_application_sees_https_and_http_2(site: Site) -> None:
    with connect(site) as client:
        scope = client.ask("/show-scope", "app.localhost").text
        assert "'https'" in scope
        assert "\"'2'\"" in scope
        assert "'tls'" in scope
    assert any('"GET /show-scope HTTP/2.0" 200 ' in line for line in site.access_lines(1))


def test_a_connection_reaches_only_what_its_handshake_was_good_for(site: Site) -> None:
    with connect(site) as client:
        assert client.ask("/hello", "app.localhost").status == 200
        # Sites with equal settings may share a connection, as browsers do where a certificate names both.
        assert client.ask("/", "files.localhost").body == PAGE
        for host in ("members.localhost", "plain.localhost", "nobody.localhost"):
            answer = client.ask("/", host)
            assert (host, answer.status) == (host, 421)
            assert b"members" not in answer.body
        assert client.ask("/hello", "app.localhost").status == 200


def test_who_asks_for_no_protocol_or_for_the_old_one_gets_http_1(site: Site) -> None:
    for protocols in ((), ("http/1.1",)):
        made = ssl.create_default_context(cadata=CA.pem.decode())
        if protocols:
            made.set_alpn_protocols(list(protocols))
        with httpx.Client(http1=True, http2=False, verify=made) as client:
            answer = ask(site, client, "app.localhost", "/hello")
            assert (answer.http_version, answer.status_code) == ("HTTP/1.1", 200)


def test_http_2_can_be_switched_off(start_site: StartSite, tmp_path: Path) -> None:
    CA.write(tmp_path, "a", "files.localhost")
    site = start_site(
        '[site.a]\nhosts = ["files.localhost"]\nrespond = { body = "x" }\ntls = { cert = "a.pem", key = "a.key" }\n',
        server='https = "127.0.0.1:0"\nhttp2 = false',
    )
    with httpx.Client(http2=True, verify=context("h2", "http/1.1")) as client:
        assert ask(site, client, "files.localhost", "/").http_version == "HTTP/1.1"


def test_a_websocket_is_a_stream_of_the_same_connection(site: Site) -> None:
    with connect(site) as client:
        socket_ = WebSocket.over(Tunnel(client, "/socket/echo", "app.localhost"))
        socket_.send("over TLS")
        assert socket_.read() == "over TLS"
        assert client.ask("/hello", "app.localhost").status == 200


def test_a_stop_is_announced_over_tls_too(site: Site) -> None:
    with connect(site) as client:
        assert client.ask("/hello", "app.localhost").status == 200
        site.terminate()
        client.wait_closed()
        assert client.goaways[-1] == (1, 0)
    assert site.wait_exit() == 0
