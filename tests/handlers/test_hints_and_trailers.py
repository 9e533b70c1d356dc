"""Lines that a worker sends before and behind an answer: which go on to the client, and which end the worker."""

from __future__ import annotations

import pytest

from pyserve.config import model
from pyserve.handlers.compressed import Compression, Streams
from pyserve.handlers.modifiers import PLAIN, prepare
from pyserve.wire import frames
from pyserve.wire.codec import NOT_IN_TRAILERS, TRAILED, pack_answer
from tests.handlers.test_compressed import FakeThreads
from tests.handlers.test_error_pages import Shop
from tests.handlers.test_pool import Table
from tests.support.exchanges import FakeExchange, make_request

LINK = b"link: </app.css>; rel=preload\r\n"
SUM = b"x-sum: 7\r\n"
TEXT = b"content-type: text/plain\r\n"


def say(table: Table, kind: int, payload: bytes = b"", number: int = 1) -> None:
    [stream] = table.streams(number)
    table.start(stream, number)
    table.pool.frames_received(table.worker(number), [(kind, stream, payload)])


def begin(table: Table, flags: int = TRAILED) -> None:
    say(table, frames.ANSWER, pack_answer(200, flags, -1, TEXT, b"hello"))


def test_hints_go_to_the_client_at_once() -> None:
    table = Table()
    exchange = table.ask()
    say(table, frames.HINTS, LINK)
    assert (exchange.hints, exchange.over) == ([LINK], False)


def test_trailers_end_the_answer_and_free_the_worker() -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask()
    begin(table)
    assert "finish" not in exchange.calls
    say(table, frames.TRAILERS, SUM)
    assert (exchange.body, exchange.trailers, exchange.calls[-2:]) == (b"hello", SUM, ["send_trailers", "finish"])
    assert (table.worker().outstanding, table.worker().streams) == (0, {})


def test_trailers_wait_for_what_is_spooled() -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask()
    exchange.is_writable = False
    begin(table)
    say(table, frames.TRAILERS, SUM)
    assert "finish" not in exchange.calls
    exchange.is_writable = True
    exchange.receiver.on_writable()  # type: ignore[union-attr]
    exchange.transmit()
    assert (exchange.body, exchange.trailers, exchange.calls[-1]) == (b"hello", SUM, "finish")


@pytest.mark.parametrize("kind", [frames.HINTS, frames.TRAILERS])
@pytest.mark.parametrize(
    "lines",
    [
        *(b"x: y", b"x: y\n", b": y\r\n", b"x: a\r\n\r\nHTTP/1.1 200 OK\r\n", b"x: \0\r\n", b"X: y\r\n", b"\r\n"),
        *(b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"x: y\r\nconnection: close\r\n"),
        b"x: " + b"y" * frames.MAX_LINES + b"\r\n",
    ],
)
def test_unclean_lines_never_reach_a_client(kind: int, lines: bytes) -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask()
    if kind == frames.TRAILERS:
        begin(table)
    say(table, kind, lines)
    assert table.told[-1] == ("broke", 1)
    assert (exchange.hints, exchange.trailers) == ([], b"")


@pytest.mark.parametrize("name", sorted(NOT_IN_TRAILERS))
def test_fields_that_may_not_be_trailers_never_are(name: bytes) -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask()
    begin(table)
    say(table, frames.TRAILERS, SUM + name + b": 1\r\n")
    assert (table.told[-1], exchange.trailers) == (("broke", 1), b"")


def test_trailers_before_a_head_are_a_broken_rule() -> None:
    table = Table(interface=frames.ASGI)
    table.ask()
    say(table, frames.TRAILERS, SUM)
    assert table.told[-1] == ("broke", 1)


def test_trailers_of_no_stream_are_a_broken_rule() -> None:
    table = Table(interface=frames.ASGI)
    table.pool.frames_received(table.worker(), [(frames.TRAILERS, 5, SUM)])
    assert table.told[-1] == ("broke", 1)


def test_hints_of_a_thread_that_comes_too_late_are_dropped() -> None:
    """Whoever calls them in a thread of its own can't know that the answer has begun meanwhile, or ended."""
    table = Table()
    exchange = table.ask()
    begin(table, 0)
    say(table, frames.HINTS, LINK)
    [stream] = table.streams()
    say(table, frames.DATA_LAST)
    table.pool.frames_received(table.worker(), [(frames.HINTS, stream, LINK)])
    assert (exchange.hints, exchange.calls[-1], table.told) == ([], "finish", [("ready", 1)])


def test_a_worker_floods_no_client_with_hints() -> None:
    """They cost no credit, so their number is counted: also of a worker that gives its request back each time."""
    table = Table()
    exchange = table.ask()
    for count in range(frames.MAX_HINTS * 2):
        say(table, frames.HINTS, LINK)
        if count % 5 == 0:
            table.pool.frames_received(table.worker(), [(frames.BUSY, table.streams()[0], b"")])
    assert table.told == [("ready", 1)]
    say(table, frames.HINTS, LINK)
    assert (table.told[-1], len(exchange.hints)) == (("broke", 1), frames.MAX_HINTS * 2)


def test_a_request_with_hints_is_tried_once_more_like_any_other() -> None:
    table = Table(workers=1)
    exchange = table.ask()
    say(table, frames.HINTS, LINK)
    table.add_worker(2)
    table.pool.remove(1, "died")
    say(table, frames.HINTS, LINK, 2)
    table.answer(table.streams(2)[0], number=2)
    assert (exchange.hints, exchange.status) == ([LINK, LINK], 200)


# Who stands between.


def compressing(configured: model.Modifiers) -> tuple[FakeExchange, FakeThreads, Compression]:
    threads = FakeThreads()
    exchange = FakeExchange(make_request("/", accept_encoding="gzip"))
    modifiers = prepare(configured) if configured != model.Modifiers() else PLAIN
    assert modifiers is not None
    exchange.modifiers = modifiers
    compress = model.Compress(("text/plain",), 1, ("gzip",))
    return exchange, threads, Compression(compress, threads, Streams())  # type: ignore[arg-type]


def test_trailers_follow_a_compressed_answer_but_for_digests_of_what_it_was() -> None:
    exchange, threads, compression = compressing(model.Modifiers())
    around = compression.around(exchange)
    around.send_hints(LINK)
    around.send_head(200, TEXT, None, TRAILED)
    around.send_data(b"hello " * 100)
    around.send_trailers(SUM + b'etag: "a"\r\nrepr-digest: x\r\ncontent-digest: y\r\n')
    around.finish()
    assert "finish" not in exchange.calls
    while threads.jobs:
        threads.step()
    assert exchange.hints == [LINK]
    assert (exchange.trailers, exchange.calls[-1]) == (SUM + b'etag: W/"a"\r\n', "finish")


def test_trailers_of_what_is_not_compressed_stay_as_they_are() -> None:
    exchange, _, compression = compressing(model.Modifiers())
    around = compression.around(exchange)
    around.send_head(200, b"content-type: image/png\r\n", None, TRAILED)
    around.send_trailers(b"repr-digest: x\r\n")
    around.finish()
    assert (exchange.trailers, exchange.calls[-1]) == (b"repr-digest: x\r\n", "finish")


def test_what_the_config_takes_away_is_no_trailer_of_a_compressed_answer() -> None:
    exchange, _, compression = compressing(model.Modifiers(headers=(("x-sum", ""),)))
    around = compression.around(exchange)
    around.send_head(200, TEXT, None, TRAILED)
    around.send_trailers(SUM + b"x-b: 2\r\n")
    assert exchange.trailers == b"x-b: 2\r\n"


def test_an_error_page_has_neither() -> None:
    shop = Shop()
    page = shop.fail()
    say(shop, frames.HINTS, LINK)
    say(shop, frames.ANSWER, pack_answer(200, TRAILED, -1, TEXT + b"trailer: x-sum\r\n", b"sorry"))
    say(shop, frames.TRAILERS, SUM)
    assert (page.hints, page.trailers, page.calls[-1]) == ([], b"", "finish")
    assert (page.status, page.headers.get("trailer")) == (502, None)


@pytest.mark.parametrize(("interface", "upgrade"), [(frames.WSGI, "websocket"), (frames.ASGI, "h2c")])
def test_an_upgrade_is_left_unanswered_and_the_request_served(interface: int, upgrade: str) -> None:
    """RFC 9110 §7.8: a server may ignore the field. What an application does with the request is its own business."""
    table = Table(interface=interface)
    exchange = FakeExchange(make_request("/", upgrade=upgrade, connection="upgrade"))
    table.handler.handle(exchange, None)  # type: ignore[arg-type]
    table.answer(table.streams()[0])
    assert exchange.status == 200
