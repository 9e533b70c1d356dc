"""``tls`` of a site: what it may say, and what is wrong with it."""

from __future__ import annotations

import tomllib

import pytest

from pyserve.config.load import read_tree
from pyserve.config.model import Listener, Tls

BASE = """
[server]
https = ":443"
[site.a]
hosts = ["a.test"]
respond = { body = "" }
tls = {%s}
"""


def decode(tls: str) -> tuple[Tls | None, list[str]]:
    loaded = read_tree(tomllib.loads(BASE % tls), folder="/srv")
    return loaded.config.sites[0].tls, [f"{problem.key}: {problem.message}" for problem in loaded.problems]


PAIR = 'cert = "a.pem", key = "k/a.key"'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (PAIR, Tls("/srv/a.pem", "/srv/k/a.key")),
        ('cert = "/etc/a.pem"', Tls("/etc/a.pem", "/etc/a.pem")),
        ("local_ca = true", Tls(local_ca="~")),
        ('local_ca = "ca"', Tls(local_ca="/srv/ca")),
        (
            PAIR + ', redirect = false, min_version = "1.3"',
            Tls("/srv/a.pem", "/srv/k/a.key", min_version="1.3", redirect=False),
        ),
        (PAIR + ", redirect = 443", Tls("/srv/a.pem", "/srv/k/a.key", redirect_port=443)),
        (PAIR + ', hsts = "365d"', Tls("/srv/a.pem", "/srv/k/a.key", hsts="max-age=31536000")),
        (PAIR + ', hsts = "0s"', Tls("/srv/a.pem", "/srv/k/a.key", hsts="max-age=0")),
        (
            PAIR + ', hsts = { max_age = "2y", subdomains = true, preload = true }',
            Tls("/srv/a.pem", "/srv/k/a.key", hsts="max-age=63072000; includeSubDomains; preload"),
        ),
        (PAIR + ', client_ca = "ca.pem"', Tls("/srv/a.pem", "/srv/k/a.key", "/srv/ca.pem", "required")),
        (
            PAIR + ', client_ca = "ca.pem", client_auth = "optional"',
            Tls("/srv/a.pem", "/srv/k/a.key", "/srv/ca.pem", "optional"),
        ),
    ],
)
def test_what_tls_may_say(text: str, wanted: Tls) -> None:
    assert decode(text) == (wanted, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "site.a.tls.cert: missing; expected a file in PEM format"),
        ('key = "a.key"', "site.a.tls.cert: missing"),
        (PAIR + ", local_ca = true", "site.a.tls.local_ca: give one of cert and local_ca, not both"),
        (PAIR + ', certt = "x"', 'site.a.tls.certt: unknown key; did you mean "cert"?'),
        (PAIR + ', client_auth = "required"', "site.a.tls.client_auth: needs client_ca"),
        (PAIR + ', client_ca = "x", client_auth = "none"', 'site.a.tls.client_auth: expected "required" or "optional"'),
        (PAIR + ', min_version = "1.1"', 'site.a.tls.min_version: expected "1.2" or "1.3", not "1.1"'),
        (PAIR + ", min_version = 1.3", "site.a.tls.min_version: expected a string"),
        (PAIR + ", redirect = 0", "site.a.tls.redirect: expected an integer from 1 to 65535"),
        (PAIR + ', redirect = "yes"', "site.a.tls.redirect: expected true, false, or the port"),
        (PAIR + ", hsts = true", 'site.a.tls.hsts: expected a duration, as "365d", not true'),
        (PAIR + ', hsts = "1 year"', "site.a.tls.hsts: expected a duration"),
        (PAIR + ", hsts = { subdomains = true }", "site.a.tls.hsts.max_age: missing"),
        (PAIR + ', hsts = { max_age = "1d", preload = true }', "site.a.tls.hsts.preload: needs subdomains = true"),
    ],
)
def test_what_is_wrong_in_tls_is_said(text: str, expected: str) -> None:
    _, problems = decode(text)
    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_https_alone_means_no_http() -> None:
    tree = tomllib.loads(BASE % PAIR)
    server = read_tree(tree).config.server
    assert (server.http, server.https) == ((), (Listener(port=443, is_tls=True),))
    tree["server"]["http"] = ":80"
    assert read_tree(tree).config.server.listeners == (Listener(port=80), Listener(port=443, is_tls=True))


def test_an_address_speaks_http_or_https() -> None:
    tree = tomllib.loads(BASE % PAIR)
    tree["server"] |= {"http": [":80", ":443"]}
    assert [f"{problem.key}: {problem.message}" for problem in read_tree(tree).problems] == [
        'server.http[2]: ":443" is taken by https: one address speaks one of them'
    ]


def test_a_local_authority_needs_names() -> None:
    loaded = read_tree(tomllib.loads((BASE % "local_ca = true").replace('"a.test"', '"~a"')))
    assert [problem.message for problem in loaded.problems] == [
        'a certificate is for names, and hosts has none: add one, as "a-site.localhost", or give cert and key'
    ]
