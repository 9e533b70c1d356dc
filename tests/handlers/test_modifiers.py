"""What a site changes about its answers, made ready once: lines, flags, hints."""

from __future__ import annotations

import pytest

from pyserve.config import model
from pyserve.handlers.modifiers import ErrorPage, Modifiers, prepare
from pyserve.wire.codec import HAS_SERVER
from tests.support.exchanges import make_request

HINT = "</a.css>; rel=preload; as=style"


def with_headers(**headers: str) -> Modifiers:
    return prepared(model.Modifiers(headers=tuple((name.replace("_", "-"), value) for name, value in headers.items())))


def prepared(configured: model.Modifiers, pages: dict[int, ErrorPage] | None = None) -> Modifiers:
    modifiers = prepare(configured, pages)
    assert modifiers is not None
    return modifiers


def changed(modifiers: Modifiers, block: bytes) -> bytes:
    return modifiers.strip(block) + modifiers.lines


def test_what_modifies_nothing_is_none() -> None:
    assert prepare(model.Modifiers()) is None


def test_a_line_replaces_every_one_of_its_name() -> None:
    modifiers = with_headers(x_frame_options="DENY")
    block = b"x-frame-options: SAMEORIGIN\r\ncontent-type: text/html\r\nx-frame-options: x\r\n"
    assert changed(modifiers, block) == b"content-type: text/html\r\nx-frame-options: DENY\r\n"


def test_an_empty_value_takes_a_line_away() -> None:
    assert changed(with_headers(etag=""), b'etag: "1"\r\nx: y\r\n') == b"x: y\r\n"


@pytest.mark.parametrize(
    "block",
    [b"", b"etags: 1\r\n", b"x-etag: etag: 1\r\n", b"eta: g\r\n", b"x: \r\n", b"x:\r\n", b"x: etag:\r\n"],
)
def test_only_the_whole_name_counts(block: bytes) -> None:
    assert with_headers(etag="").strip(block) == block


def test_a_cookie_is_set_beside_those_of_the_application() -> None:
    block = b"set-cookie: session=1\r\nset-cookie: b=2\r\n"
    assert changed(with_headers(set_cookie="a=1"), block) == block + b"set-cookie: a=1\r\n"
    assert changed(with_headers(set_cookie=""), block) == b""


def test_vary_is_said_beside_what_the_answer_varies_by() -> None:
    block = b"vary: accept-encoding\r\n"
    assert changed(with_headers(vary="origin"), block) == block + b"vary: origin\r\n"
    assert changed(with_headers(vary=""), block) == b""


@pytest.mark.parametrize("value", ["", "mine"])
def test_who_names_the_server_keeps_the_transport_from_it(value: str) -> None:
    assert with_headers(server=value).flags == HAS_SERVER
    assert with_headers(x_server=value).flags == 0
    # Also where the lines are in the answer already.
    assert with_headers(server=value).without_lines().flags == HAS_SERVER
    assert with_headers(x_server=value).without_lines().flags == 0


def test_hints_are_for_pages() -> None:
    modifiers = prepared(model.Modifiers(headers=(("server", ""),), early_hints=(HINT, "</b>; rel=preload")))
    for fields in ({}, {"sec_fetch_mode": "navigate"}):
        hinting = modifiers.for_request(make_request("/", **fields))
        assert hinting.hints == b"link: </a.css>; rel=preload; as=style\r\nlink: </b>; rel=preload\r\n"
        # For whoever ignores a 103; an application's own links stay.
        assert changed(hinting, b"link: </own>\r\n") == (
            b"link: </own>\r\nlink: </a.css>; rel=preload; as=style\r\nlink: </b>; rel=preload\r\n"
        )
        assert hinting.flags == HAS_SERVER
    other = modifiers.for_request(make_request("/", sec_fetch_mode="no-cors"))
    assert (other.hints, other.lines, other.flags) == (b"", b"", HAS_SERVER)


def test_an_answer_that_is_an_error_page_has_the_lines_and_no_page() -> None:
    class Page:
        def answer(self, *_: object) -> None: ...

    configured = model.Modifiers(headers=(("x-a", "b"), ("server", "")), early_hints=(HINT,))
    modifiers = prepared(configured, {404: Page()}).for_request(make_request("/"))
    assert modifiers.pages is not None
    bare = modifiers.without_pages()
    assert (bare.lines, bare.dropped, bare.flags) == (modifiers.lines, modifiers.dropped, modifiers.flags)
    assert (bare.pages, bare.hints) == (None, b"")
