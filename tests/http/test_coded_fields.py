"""What the fields of an answer become when it is coded, as tables."""

from __future__ import annotations

import pytest

from pyserve.config.model import Compress
from pyserve.http.coded_fields import not_modified, variants

HTML = b"content-type: text/html; charset=utf-8\r\n"
VARY = b"vary: accept-encoding\r\n"


@pytest.mark.parametrize(
    ("before", "coded"),
    [
        (b"", VARY),
        (b"x-y: z\r\n", b"x-y: z\r\n" + VARY),
        (b"vary: cookie\r\n", b"vary: cookie, accept-encoding\r\n"),
        (b"vary: cookie\r\nvary: origin\r\n", b"vary: cookie, origin, accept-encoding\r\n"),
        (b"vary: Accept-Encoding\r\n", b"vary: Accept-Encoding\r\n"),
        (b"vary: cookie,Accept-encoding\r\n", b"vary: cookie,Accept-encoding\r\n"),
        (b"vary: *\r\n", b"vary: *\r\n"),
        (b"vary: \r\n", VARY),
        (b'etag: "a"\r\n', b'etag: W/"a"\r\n' + VARY),
        (b'etag: W/"a"\r\n', b'etag: W/"a"\r\n' + VARY),
        (b"accept-ranges: bytes\r\n", VARY),
        (b"content-md5: x\r\ndigest: x\r\ncontent-digest: x\r\nrepr-digest: x\r\n", VARY),
        (b"content-encoding: identity\r\n", VARY),
        (b"set-cookie: a=1\r\nset-cookie: b=2\r\n", b"set-cookie: a=1\r\nset-cookie: b=2\r\n" + VARY),
    ],
)
def test_a_coded_answer_says_so_in_its_fields(before: bytes, coded: bytes) -> None:
    found = variants(HTML + before, Compress())
    assert found.coded == HTML + coded


def test_an_answer_as_it_is_keeps_everything_and_names_what_it_varies_by() -> None:
    block = HTML + b'etag: "a"\r\naccept-ranges: bytes\r\ncontent-digest: x\r\n'
    assert variants(block, Compress()).plain == block + VARY


@pytest.mark.parametrize(
    "line",
    [
        b"content-encoding: gzip",
        b"content-encoding: unheard-of",
        b"content-range: bytes */10",
        b"cache-control: public, No-Transform",
    ],
)
def test_what_must_stay_as_it_is_stays_but_for_vary(line: bytes) -> None:
    block = HTML + line + b"\r\n"
    assert variants(block, Compress()) == (block + VARY, None)


@pytest.mark.parametrize("block", [b"content-type: image/png\r\n", b"x: y\r\n", b""])
def test_other_types_are_left_alone(block: bytes) -> None:
    assert variants(block, Compress()) == (block, None)


def test_a_304_varies_as_the_200_would() -> None:
    assert not_modified(b'etag: "a"\r\n', Compress(), b'"a"') == b'etag: "a"\r\n' + VARY
    assert not_modified(HTML, Compress(), None) == HTML + VARY
    assert not_modified(b"content-type: image/png\r\n", Compress(), None) == b"content-type: image/png\r\n"


def test_a_304_for_a_client_that_has_the_coded_variant_has_its_weak_tag() -> None:
    assert not_modified(b'etag: "a"\r\n', Compress(), b'"b", W/"a"') == b'etag: W/"a"\r\n' + VARY
