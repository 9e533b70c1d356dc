"""Keys that modify any handler, as tables: `compress`."""

from __future__ import annotations

import pytest

from pyserve.config.model import Compress
from tests.config.test_decode import decode_text, problems_of

SITE = """
[app.shop]
entry = "shop.wsgi:application"
[site.a]
default = true
app = "shop"
"""
ROUTE = """
[[site.a.route]]
path = "/x/*"
app = "shop"
"""


def compress_of(text: str) -> tuple[Compress | None, Compress | None]:
    """Return what the site and its route compress."""
    decoded = decode_text(text)
    assert not decoded.problems.rendered()
    (site,) = decoded.config.sites
    return site.modifiers.compress, site.routes[0].modifiers.compress


def test_nothing_is_compressed_unless_it_is_asked_for() -> None:
    assert compress_of(SITE + ROUTE) == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", Compress()),
        ("false", None),
        ("{}", Compress()),
        ('{ min = "10KiB" }', Compress(min_bytes=10240)),
        ('{ min = "0B", types = [] }', Compress(types=(), min_bytes=0)),
        ('{ types = ["text/*", "Application/X-Y+json"] }', Compress(types=("text/*", "application/x-y+json"))),
        ('{ codings = ["gzip"] }', Compress(codings=("gzip",))),
        ('{ codings = ["zstd", "br"] }', Compress(codings=("zstd", "br"))),
    ],
)
def test_what_compress_may_be(text: str, expected: Compress | None) -> None:
    assert compress_of(f"{SITE}compress = {text}\n{ROUTE}")[0] == expected


def test_a_route_has_its_sites_unless_it_has_its_own() -> None:
    site = Compress(min_bytes=5000)
    text = SITE + 'compress = { min = "5000B" }\n'
    assert compress_of(text + ROUTE) == (site, site)
    assert compress_of(text + ROUTE + "compress = false") == (site, None)
    assert compress_of(text + ROUTE + "compress = true") == (site, Compress())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1", "7: site.a.compress: expected true, false or a table"),
        ('"gzip"', "7: site.a.compress: expected true, false or a table"),
        ("{ level = 9 }", "7: site.a.compress.level: "),
        ('{ types = ["text"] }', '7: site.a.compress.types[1]: expected a media type, as "text/*"'),
        ('{ types = ["text/[a]"] }', "7: site.a.compress.types[1]: expected a media type"),
        ('{ codings = ["br", "deflate"] }', '7: site.a.compress.codings[2]: expected "br", "zstd" or "gzip"'),
        ("{ min = 10 }", "7: site.a.compress.min: "),
    ],
)
def test_what_compress_may_not_be(text: str, problem: str) -> None:
    found = problems_of(f"{SITE}compress = {text}\n")
    assert len(found) == 1
    assert found[0].startswith(problem)
