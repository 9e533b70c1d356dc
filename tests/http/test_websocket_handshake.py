"""Which request is a WebSocket's handshake, which is one in disorder, and which is none of our business."""

from __future__ import annotations

from typing import Any

import pytest

from pyserve.errors import RequestError
from pyserve.http.h1_httptools import parse_fields
from pyserve.http.h2.heads import ConnectRequest
from pyserve.http.head import HeadReader
from pyserve.http.request import Request
from pyserve.http.websocket_handshake import Handshake, is_origin_allowed, upgrade_fields

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
RIGHT = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")


def request(*lines: str, first: str = "GET /chat HTTP/1.1") -> Request:
    head = "\r\n".join((first, "Host: a.test", *lines, "", ""))
    return HeadReader(parse_fields, 100).read(head.encode("latin-1"))


def without(name: str, *more: str) -> tuple[str, ...]:
    return (*(line for line in RIGHT if not line.startswith(name)), *more)


def test_the_example_of_the_rfc_is_accepted_as_it_says() -> None:
    handshake = request(*RIGHT, "Sec-WebSocket-Protocol: chat, superchat", "Origin: http://example.com").websocket
    assert handshake == Handshake(KEY.encode(), ("chat", "superchat"), (), b"http://example.com")
    assert handshake.accept == b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        without("Connection", "Connection: keep-alive, Upgrade"),
        without("Connection", "Connection: keep-alive", "Connection: uPGRADE"),
        without("Upgrade", "Upgrade: WebSocket"),
        without("Upgrade", "Upgrade: h2c, websocket"),
    ],
)
def test_what_is_written_in_another_way_is_one_too(lines: tuple[str, ...]) -> None:
    assert request(*lines).websocket is not None


@pytest.mark.parametrize(
    "lines",
    [
        (),
        without("Upgrade"),
        without("Upgrade", "Upgrade: h2c"),
        without("Upgrade", "Upgrade: websockets"),
        without("Connection"),
        without("Connection", "Connection: keep-alive"),
    ],
)
def test_a_request_that_asks_for_no_websocket_is_a_request(lines: tuple[str, ...]) -> None:
    assert request(*lines).websocket is None


@pytest.mark.parametrize("first", ["POST / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0"])
def test_where_it_can_t_be_meant_upgrade_is_ignored(first: str) -> None:
    assert request(*without("Sec-WebSocket"), first=first).websocket is None


@pytest.mark.parametrize(
    ("status", "lines", "first"),
    [
        (426, without("Sec-WebSocket-Version"), ""),
        (426, without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 12"), ""),
        (426, without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8, 13"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Version: 13"), ""),
        (400, without("Sec-WebSocket-Key"), ""),
        (400, (*RIGHT, f"Sec-WebSocket-Key: {KEY}"), ""),
        *(
            (400, without("Sec-WebSocket-Key", f"Sec-WebSocket-Key: {key}"), "")
            for key in (
                "",
                "short",
                KEY[:-2],
                KEY + "==",
                "dGhlIHNhbXBsZSBub25jZ!==",
                "AAAAAAAAAAAAAAAAAAAAAAAA",
                "A" * 44,
            )
        ),
        (400, (*RIGHT, "Sec-WebSocket-Protocol: \x80\xff"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Protocol: chat, caf\xe9"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Protocol: a b"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Protocol: chat,,b"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Protocol: chat, chat"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Extensions: a b"), ""),
        (400, (*RIGHT, "Sec-WebSocket-Extensions: permessage-deflate; x=(1)"), ""),
        (400, (*RIGHT, "Content-Length: 5"), ""),
        (400, (*RIGHT, "Transfer-Encoding: chunked"), ""),
        (400, RIGHT, "POST / HTTP/1.1"),
        (400, RIGHT, "GET / HTTP/1.0"),
    ],
)
def test_a_handshake_in_disorder_is_refused(status: int, lines: tuple[str, ...], first: str) -> None:
    asked = request(*lines, first=first or "GET / HTTP/1.1")
    with pytest.raises(RequestError) as refused:
        _ = asked.websocket
    assert refused.value.status == status
    assert (b"sec-websocket-version: 13\r\n" in upgrade_fields(status, "1.1")) == (status == 426)


def test_extensions_are_read_with_their_parameters() -> None:
    value = 'permessage-deflate; client_max_window_bits; server_max_window_bits = "10", x-other, permessage-deflate'
    handshake = request(*RIGHT, f"Sec-WebSocket-Extensions: {value}").websocket
    assert handshake is not None
    first = (b"permessage-deflate", ((b"client_max_window_bits", None), (b"server_max_window_bits", b"10")))
    assert handshake.extensions == (first, (b"x-other", ()), (b"permessage-deflate", ()))


def test_over_http_2_there_is_no_key() -> None:
    """RFC 8441: the transport makes an extended CONNECT such a request."""
    plain = request("Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat")
    asked = ConnectRequest()
    for name in Request.__slots__:
        setattr(asked, name, getattr(plain, name))
    asked.version = "2"
    asked.protocol = "webtransport"
    assert asked.websocket is None
    asked.protocol = "websocket"
    handshake = asked.websocket
    assert handshake is not None
    assert (handshake.key, handshake.accept, handshake.protocols) == (b"", b"", ("chat",))


@pytest.mark.parametrize(
    ("origin", "allowed", "verdict"),
    [
        ("https://evil.test", (), True),
        ("https://evil.test", ("https://a.test",), False),
        ("https://A.test", ("https://a.test",), True),
        ("http://a.test", ("same",), True),
        ("https://a.test", ("same",), False),
        ("http://a.test:81", ("same",), False),
        ("null", ("same",), False),
        (None, ("same",), True),
    ],
)
def test_pages_of_other_origins_are_kept_out_where_that_is_wanted(
    origin: str | None, allowed: tuple[str, ...], verdict: bool
) -> None:
    asked: Any = request(*RIGHT, *([f"Origin: {origin}"] if origin else []))
    assert is_origin_allowed(asked.websocket, asked, "http", allowed) is verdict
