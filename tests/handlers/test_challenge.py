"""The handler that answers an authority's http-01 challenges."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.config.acme import CHALLENGE_PATH
from pyserve.config.model import Acme, Challenges, Config, Redirect, Respond, Server, Site
from pyserve.files.cache import FileCache
from pyserve.front.build import build_router
from pyserve.handlers.interface import Handler, Lanes
from pyserve.routing.router import Router
from tests.support.exchanges import FakeExchange, make_request
from tests.support.lanes import Inline

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
ANSWER = f"{TOKEN}.thumbprint"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "challenges"
    (folder / "alpn").mkdir(parents=True)
    (folder / TOKEN).write_text(ANSWER)
    (folder / "alpn" / "a.test.pem").write_text("a key")
    (folder / "large").write_text("x" * 5000)
    (folder / "empty").touch()
    (folder / "link").symlink_to(folder / TOKEN)
    (tmp_path / "secret").write_text("a key")
    return tmp_path


def ask(storage: Path, rest: str, method: str = "GET", *, network: Inline | None = None) -> FakeExchange:
    site = Site("a", ("a.test",), handler=Redirect("https://elsewhere/{rest}"), acme=Acme(storage=str(storage)))
    lane = network or Inline()
    lanes = Lanes(Inline(), lane, Inline())
    config = Config(Server((), ""), sites=(site, Site("b", ("b.test",), handler=Respond())))
    router: Router[Handler] = build_router(config, {}, FileCache(), lanes)
    exchange = FakeExchange(make_request(CHALLENGE_PATH + rest, method))
    match = router.find("a.test", exchange.request.path)
    match.handler.handle(exchange, match)
    return exchange


def test_a_token_is_answered_with_what_its_file_has(storage: Path) -> None:
    exchange = ask(storage, TOKEN)
    assert (exchange.status, exchange.body) == (200, ANSWER.encode())
    assert b"content-type: application/octet-stream\r\n" in exchange.block
    assert b"cache-control: no-store\r\n" in exchange.block
    assert exchange.same is None


def test_the_file_is_read_where_a_folder_that_hangs_holds_up_nobody(storage: Path) -> None:
    network = Inline()
    network.is_held = True
    exchange = ask(storage, TOKEN, network=network)
    assert not exchange.over
    network.go_on()
    assert exchange.status == 200


@pytest.mark.parametrize(
    "rest",
    [
        *("", "unknown", "large", "empty", "link", "alpn", "alpn/a.test.pem", "..", "../secret", "%2e%2e/secret"),
        *(f"{TOKEN}/", f"{TOKEN}.pem", f"{TOKEN}~", "t%C3%B6ken", "x" * 129, f"./x/../alpn/../{TOKEN}x"),
    ],
)
def test_everything_else_is_nowhere(storage: Path, rest: str) -> None:
    exchange = ask(storage, rest)
    assert exchange.status in (308, 404)
    assert b"key" not in exchange.body


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 405), ("PUT", 405), ("OPTIONS", 405)])
def test_it_is_only_read(storage: Path, method: str, status: int) -> None:
    assert ask(storage, TOKEN, method).status == status


def test_a_site_without_acme_has_no_such_path() -> None:
    config = Config(Server((), ""), sites=(Site("b", ("b.test",), handler=Respond(body="mine")),))
    router = build_router(config, {}, FileCache(), Lanes(Inline(), Inline(), Inline()))
    assert not isinstance(router.find("b.test", f"{CHALLENGE_PATH}{TOKEN}").route, Challenges)
    assert router.find("b.test", f"{CHALLENGE_PATH}{TOKEN}").route is None
