"""Promise: what a client says of itself never reaches an application; what a trusted proxy says of its client does."""

from __future__ import annotations

import ast
import json
import struct
from typing import Any

import pytest

from tests.support import trial
from tests.support.client import Client, Response, request
from tests.support.site import Site, StartSite

FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "w",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/admin",
    "X-Forwarded-Ssl": "on",
    "X-Real-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;proto=https",
    "X_Forwarded_For": "6.6.6.6",
    "X-Auth_User": "root",
    "Proxy": "http://evil",
}
PROXIES = 'trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]'


def environ(answer: Response) -> dict[str, Any]:
    assert answer.status == 200
    return dict(json.loads(answer.body))


def scope_of(answer: Response) -> dict[str, Any]:
    return {key: ast.literal_eval(value) for key, value in environ(answer).items()}


def test_a_client_that_is_no_proxy_cannot_say_who_it_is(shared_site: StartSite, variant: dict[str, str]) -> None:
    site = shared_site(trial.both(), **variant)
    seen = environ(site.get("/show_environ", "w", **FORGED))
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert (seen["wsgi.url_scheme"], seen["HTTP_HOST"]) == ("http", "w")
    assert not [key for key in seen if "FORWARDED" in key or "REAL_IP" in key or "AUTH" in key or key == "HTTP_PROXY"]
    scope = scope_of(site.get("/show_scope", "a", **FORGED))
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")
    assert [name for name, _ in scope["headers"]] == [b"host"]


def test_a_trusted_proxy_says_who_the_client_is(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=PROXIES)
    fields = {
        "X-Forwarded-For": "6.6.6.6, 192.0.2.7, 10.1.1.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "w",
        "X-Forwarded-Port": "8443",
    }
    for _ in range(3):  # from the memo too
        seen = environ(site.get("/show_environ", "inner", **fields))
        assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"], seen["wsgi.url_scheme"]) == ("192.0.2.7", "", "https")
        assert (seen["HTTP_HOST"], seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("w", "w", "8443")
        assert seen["HTTP_X_FORWARDED_FOR"] == "192.0.2.7, 10.1.1.1"
        assert seen["HTTPS"] == "on"
    scope = scope_of(site.get("/show_scope", "a", **{**fields, "X-Forwarded-Host": "a:81"}))
    assert (scope["client"], scope["server"], scope["scheme"]) == (("192.0.2.7", 0), ("a", 8443), "https")
    for line in site.access_lines(4):
        assert line.startswith("192.0.2.7 ")


def test_a_host_that_a_proxy_forwards_has_to_be_one(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=PROXIES)
    assert site.get("/hello", "a", **{"X-Forwarded-Host": "user@a"}).status == 400
    assert site.get("/hello", "a", **{"X-Forwarded-Host": "nobody"}).status == 421


V2 = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, 12)
V2 += bytes([192, 0, 2, 9, 10, 0, 0, 1]) + struct.pack("!HH", 4711, 8080)
V1 = b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 8080\r\n"


def proxied(start_site: StartSite, trusted: str = "127.0.0.1", **more: str) -> Site:
    listener = '{ address = "127.0.0.1:0", proxy_protocol = true }'
    return start_site(trial.both(), http=f"[{listener}]", server=f'trusted_proxies = ["{trusted}"]', **more)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_proxy_protocol_header_names_both_ends(start_site: StartSite, variant: dict[str, str], header: bytes) -> None:
    site = proxied(start_site, **variant)
    with site.connect() as client:
        seen = environ(client.ask(header + request("/show_environ", "w")))
        assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == ("192.0.2.9", "4711")
        assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("10.0.0.1", "8080")
        # It was for the connection: the next request is like any other, and what the client says counts for nothing.
        scope = scope_of(client.get("/show_scope", "a", **FORGED))
        assert (scope["client"], [name for name, _ in scope["headers"]]) == (("192.0.2.9", 4711), [b"host"])
    with site.connect() as client:
        for byte in header + request("/hello", "w"):
            client.send(bytes([byte]))
        assert client.read_response().status == 200
    assert all(line.startswith("192.0.2.9 ") for line in site.access_lines(3))


@pytest.mark.parametrize(
    "data",
    [request("/hello", "w"), V1[:-2] + b"\n", V2[:12] + b"\x31\x11\0\x0c" + V2[16:], b"\x16\x03\x01\x02\0\x01\xfc"],
    ids=["no header", "bare LF", "version 3", "TLS"],
)
def test_whatever_else_comes_first_is_closed_without_an_answer(start_site: StartSite, data: bytes) -> None:
    site = proxied(start_site)
    with site.connect() as client:
        client.send(data)
        assert client.is_closed()


def test_a_header_that_does_not_come_in_time_is_not_waited_for(start_site: StartSite) -> None:
    site = proxied(start_site, limits='head_timeout = "400ms"')
    with site.connect() as client:
        client.send(V1[:10])
        assert client.is_closed()


def test_who_is_not_trusted_may_not_even_connect(start_site: StartSite) -> None:
    site = proxied(start_site, trusted="192.0.2.1")
    with site.connect() as client:
        client.send(V1 + request("/hello", "w"))
        assert client.is_closed()
    site.wait_line("closed a connection of 127.0.0.1: it is none of trusted_proxies")


def test_whoever_comes_over_a_unix_socket_is_trusted_where_that_is_said(start_site: StartSite) -> None:
    site = start_site(trial.both(), http='["127.0.0.1:0", "unix:run/web.sock"]', server='trusted_proxies = ["unix:"]')
    fields = {"X-Forwarded-For": "192.0.2.7"}
    with Client(str(site.folder / "run/web.sock")) as client:
        assert environ(client.get("/show_environ", "w", **fields))["REMOTE_ADDR"] == "192.0.2.7"
    assert environ(site.get("/show_environ", "w", **fields))["REMOTE_ADDR"] == "127.0.0.1"
