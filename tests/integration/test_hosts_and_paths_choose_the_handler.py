"""Promise: the Host header chooses the site, the path chooses the handler, and nobody else answers."""

from __future__ import annotations

import pytest

from tests.support.site import StartSite

SITES = """
[site.exact]
hosts = ["exact.test", "Also.Test"]
respond = { body = "exact" }

[[site.exact.route]]
path = "/one"
respond = { status = 201, body = "one", type = "text/x-one" }

[[site.exact.route]]
path = "/tree/*"
respond = { body = "tree" }

[[site.exact.route]]
path = "~^/number/([0-9]+)$"
redirect = { to = "/n/{rest}", status = 308 }

[[site.exact.route]]
path = "/old/*"
redirect = { to = "https://new.test/{rest}", status = 301 }

[site.wild]
hosts = ["*.wild.test"]
respond = { body = "wild" }

[site.pattern]
hosts = ["~^shop[0-9]+[.]test$"]
respond = { body = "pattern" }
"""
DEFAULT = """
[site.rest]
default = true
respond = { body = "default" }
"""


@pytest.mark.parametrize(
    ("host", "path", "status", "body"),
    [
        ("exact.test", "/", 200, "exact"),
        ("EXACT.test:8000", "/", 200, "exact"),
        ("also.test", "/", 200, "exact"),
        ("exact.test.", "/", 200, "exact"),
        ("a.wild.test", "/", 200, "wild"),
        ("a.b.wild.test", "/", 200, "wild"),
        ("shop12.test", "/", 200, "pattern"),
        ("exact.test", "/one", 201, "one"),
        ("exact.test", "/one/", 200, "exact"),
        ("exact.test", "/tree", 200, "tree"),
        ("exact.test", "/tree/a/b", 200, "tree"),
        ("exact.test", "/x/../tree/a", 200, "tree"),
        ("exact.test", "/trees", 200, "exact"),
    ],
)
def test_a_request_reaches_its_handler(shared_site: StartSite, host: str, path: str, status: int, body: str) -> None:
    answer = shared_site(SITES).get(path, host)
    assert (answer.status, answer.text) == (status, body)
    assert answer.field("date")
    assert answer.field("server")


@pytest.mark.parametrize("host", ["other.test", "wild.test", "shop.test", "127.0.0.1"])
def test_an_unknown_host_gets_421(shared_site: StartSite, host: str) -> None:
    assert shared_site(SITES).get("/", host).status == 421


def test_a_default_site_takes_what_no_other_names(start_site: StartSite) -> None:
    site = start_site(SITES + DEFAULT)
    assert site.get("/", "other.test").text == "default"
    assert site.get("/", "exact.test").text == "exact"


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/number/12?x=1", 308, "/n/12?x=1"),
        ("/old/a%20b/c?q=1", 301, "https://new.test/a%20b/c?q=1"),
        ("/old", 301, "https://new.test/"),
    ],
)
def test_a_redirect_keeps_the_rest_and_the_query(shared_site: StartSite, path: str, status: int, location: str) -> None:
    answer = shared_site(SITES).get(path, "exact.test")
    assert (answer.status, answer.field("location")) == (status, location)
