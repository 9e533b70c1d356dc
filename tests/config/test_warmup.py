"""Whom a warmup asks."""

from __future__ import annotations

import tomllib

import pytest

from pyserve.config.load import from_tree
from pyserve.config.warmup import warmup_at

APP = '[app.shop]\nentry = "shop:app"\n[app.other]\nentry = "other:app"\n'


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ('[site.s]\nhosts = ["*.example", "~^x", "shop.example", "b.example"]\napp = "shop"', ("shop.example", "")),
        ('[site.s]\ndefault = true\napp = "shop"', ("localhost", "")),
        (
            '[site.s]\nhosts = ["a.example"]\napp = "other"\n'
            '[[site.s.route]]\npath = "/s/*"\napp = "shop"\nmount = true',
            ("a.example", "/s"),
        ),
        ('[site.s]\nhosts = ["a.example"]\napp = "other"', ("localhost", "")),
    ],
    ids=["first exact host", "no host", "mounted", "used by none"],
)
def test_the_first_site_that_uses_an_app_gives_host_and_mount(sites: str, expected: tuple[str, str]) -> None:
    assert warmup_at(from_tree(tomllib.loads(APP + sites)), "shop") == expected
