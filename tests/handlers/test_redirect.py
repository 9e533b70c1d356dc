"""Where a redirect sends a client, and where it can't be made to."""

from __future__ import annotations

import pytest

from pyserve.config.model import Redirect, Respond
from pyserve.handlers.redirect import RedirectHandler
from pyserve.handlers.respond import RespondHandler
from tests.support.exchanges import ask


@pytest.mark.parametrize(
    ("route", "to", "target", "location"),
    [
        ("/old/*", "/new/{rest}", "/old/a/b", "/new/a/b"),
        ("/old/*", "/new/{rest}", "/old/", "/new/"),
        ("/old/*", "/new/{rest}", "/old", "/new/"),
        ("/old/*", "/new/{rest}", "/old/a?x=1&y=%20", "/new/a?x=1&y=%20"),
        ("/old/*", "/new/{rest}?z=1", "/old/a?x=1", "/new/a?z=1"),
        ("/old/*", "/new/{rest}#part", "/old/a?x=1", "/new/a?x=1#part"),
        ("/old/*", "/new/{rest}", "/old/a%20b%3Fc%23d%25e", "/new/a%20b%3Fc%23d%25e"),
        ("/old/*", "/new/{rest}", "/old/caf%C3%A9/%FF", "/new/caf%C3%A9/%FF"),
        ("/old/*", "/new/{rest}", "/old//x", "/new/x"),
        ("/old/*", "https://b.test/{rest}", "/old/a", "https://b.test/a"),
        ("/old/*", "/search?q={rest}", "/old/a&b=c/d", "/search?q=a%26b%3Dc%2Fd"),
        ("/old/*", "/x#{rest}", "/old/a#b".replace("#", "%23"), "/x#a%23b"),
        ("/gone", "/", "/gone?a=b", "/?a=b"),
        ("/gone", "/caf\u00e9 bar", "/gone", "/caf%C3%A9%20bar"),
        ("/gone", "/100%25", "/gone", "/100%25"),
        (r"~^/u/(?P<who>[^/]+)/(?P<what>.*)$", "/{what}/of/{who}", "/u/ann/pics", "/pics/of/ann"),
        (r"~^/u/(.*)$", "/v/{rest}", "/u/1/2", "/v/1/2"),
        # A request can choose neither host nor header.
        ("/*", "/{rest}", "//evil.test/x", "/evil.test/x"),
        ("/*", "{rest}", "//evil.test/x", "/evil.test/x"),
        ("/*", "{rest}", "/https://evil.test/", "/https://evil.test/"),
        ("/*", "{rest}", "/javascript:alert(1)", "/javascript:alert(1)"),
        ("/*", "/{rest}", "/%5Cevil.test", "/%5Cevil.test"),
        ("/*", "/{rest}", "/a%0D%0Aset-cookie:%20x=1", "/a%0D%0Aset-cookie:%20x=1"),
        (r"~^(.*)$", "/{rest}", "//evil.test", "/evil.test"),
        (r"~^(?P<all>.*)$", "{all}", "//evil.test", "/evil.test"),
        (r"~^/(?P<sub>.*)$", "https://{sub}.a.test/", "/evil.test/x", "https://evil.test%2Fx.a.test/"),
        ("/x", "//b.test/", "/x", "/b.test/"),
    ],
)
def test_a_redirect_fills_its_target(route: str, to: str, target: str, location: str) -> None:
    config = Redirect(to, 307)
    exchange = ask(RedirectHandler(config), config, target, route=route)
    assert (exchange.status, exchange.headers, exchange.body) == (307, {"location": location}, b"")


def test_a_sites_own_redirect_takes_the_whole_path() -> None:
    config = Redirect("https://www.a.test/{rest}")
    assert ask(RedirectHandler(config), config, "/a/b?c").headers == {"location": "https://www.a.test/a/b?c"}


def test_line_breaks_in_the_config_make_no_header() -> None:
    config = Redirect("/a\r\nx-evil: 1")
    assert ask(RedirectHandler(config), config, "/", route="/").headers == {"location": "/a%0D%0Ax-evil:%201"}


def test_a_fixed_answer_is_sent_as_it_stands() -> None:
    config = Respond(418, "pong \u00e9", "text/plain; charset=utf-8")
    exchange = ask(RespondHandler(config), config, "/ping", "POST", route="/ping")
    assert (exchange.status, exchange.body) == (418, "pong \u00e9".encode())
    assert exchange.headers == {"content-type": "text/plain; charset=utf-8"}


def test_a_status_without_content_has_none() -> None:
    config = Respond(204, "pong")
    exchange = ask(RespondHandler(config), config, "/ping", route="/ping")
    assert (exchange.status, exchange.block, exchange.body) == (204, b"", b"")
