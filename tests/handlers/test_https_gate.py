"""A site that belongs on https, asked for over plain http: sent there, or not served at all."""

from __future__ import annotations

import pytest

from pyserve.config.model import Respond, Site
from pyserve.handlers.https_gate import HttpsGate
from pyserve.handlers.respond import RespondHandler
from pyserve.routing.router import Match
from pyserve.wire.codec import Peer, pack_peer
from tests.support.exchanges import FakeExchange, ask, begin, make_request

CONFIG = Respond(body="inner")


def gate(fault: str = "", is_waiting: bool = False, port: int = 443, **more: bool) -> HttpsGate:
    return HttpsGate(RespondHandler(CONFIG), lambda: (fault, is_waiting), lambda: port, **more)


@pytest.mark.parametrize(
    ("target", "port", "location"),
    [
        ("/", 443, "https://a.test/"),
        ("/a%20b/%C3%A4?x=1&y=%20", 443, "https://a.test/a%20b/%C3%A4?x=1&y=%20"),
        ("/x", 8443, "https://a.test:8443/x"),
        ("//evil.test/x", 443, "https://a.test//evil.test/x"),
        ("/%0D%0Aset-cookie:%20x=1", 443, "https://a.test/%0D%0Aset-cookie:%20x=1"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_client_is_sent_to_https(method: str, target: str, port: int, location: str) -> None:
    exchange = ask(gate(port=port), CONFIG, target, method)
    assert (exchange.status, exchange.headers, exchange.body) == (308, {"location": location}, b"")


def test_challenges_are_answered_in_clear_text() -> None:
    assert ask(gate(), CONFIG, "/.well-known/acme-challenge/x").body == b"inner"
    assert ask(gate("broken"), CONFIG, "/.well-known/acme-challenge/x").body == b"inner"
    assert ask(gate(), CONFIG, "/.well-known/acme-challenge").status == 308


def test_a_site_whose_certificate_is_broken_is_not_served_in_its_place() -> None:
    exchange = begin(gate("no such file"), CONFIG, "/")
    assert exchange.status == 503


def test_a_site_whose_first_certificate_is_still_to_come_is_served() -> None:
    exchange = begin(gate("waiting for it", True), CONFIG, "/")
    assert exchange.status == 200
    assert exchange.request.kind is None  # not to be repeated: the next one may have to be sent to https


def test_who_came_by_https_to_a_trusted_proxy_is_not_sent_round_in_circles() -> None:
    exchange = FakeExchange(make_request("/"))
    exchange.peer_blob = pack_peer(Peer(("192.0.2.1", 1), ("10.0.0.1", 80), "https"))
    site = Site("a", ("a.test",), handler=CONFIG)
    gate().handle(exchange, Match(site, None, gate(), "", {}))
    assert exchange.status == 200
    assert exchange.request.kind is None


def test_a_site_that_asks_clients_for_certificates_is_not_had_in_clear_text() -> None:
    assert ask(gate(demands_certificate=True), CONFIG, "/").status == 308
    assert begin(gate(demands_certificate=True, redirects=False), CONFIG, "/").status == 421
    # Whoever terminated TLS has seen the certificate, if there was one; its word is none.
    exchange = FakeExchange(make_request("/"))
    exchange.peer_blob = pack_peer(Peer(("192.0.2.1", 1), ("10.0.0.1", 80), "https"))
    site = Site("a", ("a.test",), handler=CONFIG)
    gate(demands_certificate=True).handle(exchange, Match(site, None, gate(), "", {}))
    assert exchange.status == 421
