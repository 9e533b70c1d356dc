"""What a kind of connection can reach, and what is remembered of that."""

from __future__ import annotations

import tracemalloc

from pyserve.config.model import Respond, Site
from pyserve.front.realm import MEMO_MATCHES, Realm
from pyserve.routing.router import Router
from tests.front.h1.test_connection import Answering

SITE = Site("a", ("a",), handler=Respond(200, "", ""), routes=())


def test_long_paths_that_are_all_different_do_not_fill_the_memory() -> None:
    router = Router([SITE], lambda handler, site, route: Answering(lambda exchange: None))
    realm = Realm(router, None, None)  # type: ignore[arg-type]
    assert realm.find_match("a", "/short") is realm.find_match("a", "/short")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(MEMO_MATCHES // 4):
        assert realm.find_match("a", f"/{'x' * 30_000}{number}").site is SITE
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1 << 20
