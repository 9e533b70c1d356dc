"""The bytes of 103 answers and of trailers on an HTTP/1 connection, and to whom they are not sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pyserve.config.model import Modifiers as Configured
from pyserve.handlers.interface import Exchange
from pyserve.handlers.modifiers import prepare
from pyserve.wire.codec import TRAILED
from tests.front.h1.test_connection import Desk, Play
from tests.front.h1.test_connection import play as play  # a fixture

LINK = b"link: </app.css>; rel=preload\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\n" + LINK + b"\r\n"
SUM = b"x-sum: 7\r\n"
ANNOUNCED = b"trailer: x-sum\r\n"
DRESS = re.compile(rb"date: [^\r]+\r\n|server: pyserve\r\n")


def received(play: Play, answer: object, head: bytes) -> bytes:
    """Return what a client gets that says ``connection: close``, without the lines of the server itself."""
    found: list[bytes] = []

    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        with client:
            client.send(head + b"host: a\r\nconnection: close\r\n\r\n")
            found.append(await desk.read(client, 1 << 20))

    play(answer, scene)  # type: ignore[arg-type]
    return DRESS.sub(b"", found[0])


def get(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"".join([method, b" / HTTP/", version, b"\r\n", *[line + b"\r\n" for line in lines]])


def hinting(exchange: Exchange) -> None:
    exchange.send_hints(LINK)
    exchange.send(200, b"", b"ok")
    exchange.send_hints(LINK)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@pytest.mark.parametrize("lines", [(), (b"sec-fetch-mode: navigate",)])
def test_hints_go_out_before_the_head_and_never_after_it(play: Play, lines: tuple[bytes, ...]) -> None:
    assert received(play, hinting, get(*lines)) == EARLY + OK


@pytest.mark.parametrize(
    "head",
    [
        get(version=b"1.0"),
        get(b"content-length: 0", method=b"POST"),
        get(b"content-length: 2", b"expect: 100-continue"),
        get(b"sec-fetch-mode: no-cors"),
    ],
)
def test_who_knows_no_hints_or_needs_none_is_sent_none(play: Play, head: bytes) -> None:
    assert received(play, hinting, head).startswith(b"HTTP/1.1 200 OK\r\n")


def test_hints_are_in_their_place_while_a_head_is_held(play: Play) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.send_hints(LINK)
        exchange.send_head(200, b"", 2)
        exchange.send_hints(LINK)  # the head is as good as out
        exchange.send_data(b"ok")
        exchange.finish()

    assert received(play, answer, get()) == EARLY + OK


def test_what_the_config_takes_away_is_in_no_hint(play: Play) -> None:
    def answer(exchange: Exchange) -> None:
        modifiers = prepare(Configured(headers=(("link", ""),)))
        assert modifiers is not None
        exchange.modifiers = modifiers
        exchange.send_hints(LINK)
        exchange.send_hints(LINK + b"x-a: b\r\n")
        exchange.send(200, LINK, b"ok")

    assert received(play, answer, get()) == b"HTTP/1.1 103 Early Hints\r\nx-a: b\r\n\r\n" + OK


def trailing(exchange: Exchange) -> None:
    exchange.send_head(200, b"x: y\r\n" + ANNOUNCED, None, TRAILED)
    exchange.send_data(b"hello")
    exchange.send_trailers(SUM)
    exchange.finish()


def chunked(announced: bytes, trailers: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nx: y\r\n%btransfer-encoding: chunked\r\nconnection: close\r\n\r\n" % announced
    return head + b"5\r\nhello\r\n0\r\n%b\r\n" % trailers


@pytest.mark.parametrize("te", [b"te: trailers", b"TE: gzip;q=0.5 , Trailers"])
def test_trailers_follow_the_last_chunk_for_who_takes_them(play: Play, te: bytes) -> None:
    assert received(play, trailing, get(te)) == chunked(ANNOUNCED, SUM)


@pytest.mark.parametrize("lines", [(), (b"te: gzip",), (b"te: trailersx",)])
def test_who_does_not_take_trailers_is_not_even_told_of_them(play: Play, lines: tuple[bytes, ...]) -> None:
    assert received(play, trailing, get(*lines)) == chunked(b"", b"")


def test_trailers_that_were_not_announced_follow_too(play: Play) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, b"x: y\r\n", None)
        exchange.send_data(b"hello")
        exchange.send_trailers(SUM)
        exchange.finish()

    assert received(play, answer, get(b"te: trailers")) == chunked(b"", SUM)


def test_only_chunks_have_trailers(play: Play) -> None:
    """RFC 9112 §7.1.2: there is no room for them behind a body of a known length, or one that the end ends."""

    def known(exchange: Exchange) -> None:
        exchange.send_head(200, ANNOUNCED, 2, TRAILED)
        exchange.send_data(b"ok")
        exchange.send_trailers(SUM)
        exchange.finish()

    assert received(play, known, get(b"te: trailers")) == OK
    old = received(play, trailing, get(b"te: trailers", version=b"1.0"))
    assert old == b"HTTP/1.1 200 OK\r\nx: y\r\nconnection: close\r\n\r\nhello"


def test_an_answer_to_head_has_no_trailers(play: Play) -> None:
    got = received(play, trailing, get(b"te: trailers", method=b"HEAD"))
    assert got.endswith(b"\r\n\r\n")
    assert SUM not in got


def test_trailers_follow_a_file(play: Play, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    fd = os.open(tmp_path / "file", os.O_RDONLY)

    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, b"x: y\r\n" + ANNOUNCED, None, TRAILED)
        exchange.send_file(fd, 0, 5)
        exchange.send_trailers(SUM)
        exchange.finish()

    assert received(play, answer, get(b"te: trailers")) == chunked(ANNOUNCED, SUM)
    os.close(fd)


def test_what_the_config_takes_away_is_no_trailer(play: Play) -> None:
    def answer(exchange: Exchange) -> None:
        modifiers = prepare(Configured(headers=(("x-sum", ""),)))
        assert modifiers is not None
        exchange.modifiers = modifiers
        exchange.send_head(200, b"x: y\r\n", None, TRAILED)
        exchange.send_data(b"hello")
        exchange.send_trailers(SUM + b"x-b: 2\r\n")
        exchange.finish()

    assert received(play, answer, get(b"te: trailers")) == chunked(b"", b"x-b: 2\r\n")


def test_the_next_request_of_a_connection_is_read_behind_trailers(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        with client:
            client.send(get(b"te: trailers", b"host: a") + b"\r\n" + get(b"host: a", b"connection: close") + b"\r\n")
            got = DRESS.sub(b"", await desk.read(client, 1 << 20))
        first = chunked(ANNOUNCED, SUM).replace(b"connection: close\r\n", b"")
        assert got == first + chunked(b"", b"")

    play(trailing, scene)
