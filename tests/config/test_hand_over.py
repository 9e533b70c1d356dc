"""`hand_over` of an application: path prefixes and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.config.apps import Expectation
from pyserve.config.load import from_tree, load, read
from pyserve.errors import ConfigError
from tests.config.test_decode import decode_text, problems_of

SITE = """
[app.shop]
entry = "shop.wsgi:application"
root = "shop"
{}
[site.a]
default = true
app = "shop"
"""


def folders_of(value: str) -> tuple[tuple[str, str], ...]:
    decoded = decode_text(SITE.format(f"hand_over = {value}"))
    assert not decoded.problems.rendered()
    return decoded.config.apps[0].hand_over


def test_applications_name_no_files_unless_it_is_allowed() -> None:
    assert decode_text(SITE.format("")).config.apps[0].hand_over == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{}", ()),
        ('{ "/protected" = "media" }', (("/protected", "/srv/shop/media"),)),
        ('{ "/protected/" = "../media/" }', (("/protected", "/srv/media"),)),
        ('{ "/" = "/srv/all" }', (("", "/srv/all"),)),
        ('{ "/a b/ü" = "x", "/a.b/..c" = "/y" }', (("/a b/ü", "/srv/shop/x"), ("/a.b/..c", "/y"))),
        ('{ "/t" = { env = "TOKEN" } }', (("/t", "/srv/shop/t0ken"),)),
    ],
)
def test_a_prefix_stands_for_a_folder_relative_to_the_applications_own(
    value: str, expected: tuple[tuple[str, str], ...]
) -> None:
    assert folders_of(value) == expected


TABLE = "5: app.shop.hand_over: expected a table of path prefixes and folders,"
EXPECTED = 'expected a path prefix, as "/protected"'


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("true", f'{TABLE} as {{ "/protected" = "media" }}, not true'),
        ('"media"', f"{TABLE} as "),
        ("[]", f"{TABLE} as "),
        ('{ protected = "media" }', f"5: app.shop.hand_over.protected: {EXPECTED}"),
        ('{ "" = "media" }', f'5: app.shop.hand_over."": {EXPECTED}'),
        ('{ "//" = "media" }', f'5: app.shop.hand_over."//": {EXPECTED}'),
        ('{ "/a//b" = "media" }', f'5: app.shop.hand_over."/a//b": {EXPECTED}'),
        ('{ "/a/../b" = "media" }', f'5: app.shop.hand_over."/a/../b": {EXPECTED}'),
        ('{ "/." = "media" }', f'5: app.shop.hand_over."/.": {EXPECTED}'),
        ('{ "/a\\u0000" = "media" }', "5: app.shop.hand_over."),
        ('{ "/a" = "x", "/a/" = "y" }', '5: app.shop.hand_over."/a/": is the same prefix as one before it'),
        ('{ "/a" = "me\\u0000dia" }', '5: app.shop.hand_over."/a": expected a path without a NUL character'),
        ('{ "/a" = "" }', '5: app.shop.hand_over."/a": expected a folder, as "media", not an empty one'),
        ('{ "/a" = 1 }', '5: app.shop.hand_over."/a": expected a folder, as "media", not the integer 1'),
        ('{ "/a" = ["x"] }', '5: app.shop.hand_over."/a": expected a folder, as "media", not a list'),
    ],
)
def test_what_hand_over_may_not_be(value: str, problem: str) -> None:
    (found,) = problems_of(SITE.format(f"hand_over = {value}"))
    assert found.startswith(problem)


def test_a_prefix_that_is_no_string_is_a_problem() -> None:
    app = {"entry": "shop:app", "hand_over": {7: "media"}}
    with pytest.raises(ConfigError) as caught:
        from_tree({"app": {"shop": app}, "site": {"a": {"default": True, "app": "shop"}}})
    (problem,) = caught.value.problems
    assert problem.message == EXPECTED


def test_each_folder_has_to_be_there() -> None:
    decoded = decode_text(SITE.format('hand_over = { "/a" = "x", "/b" = "/y" }'))
    folders = [item.target for item in decoded.expectations if isinstance(item, Expectation) and item.kind == "folder"]
    assert folders == ["/srv/shop", "/srv/shop/x", "/y"]


def test_a_folder_that_is_missing_is_a_problem_of_the_surroundings_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    path = tmp_path / "site.toml"
    path.write_text(SITE.format('hand_over = { "/a" = "media" }'))
    assert load([str(path)]).apps[0].hand_over == (("/a", f"{tmp_path}/shop/media"),)
    (problem,) = read([str(path)]).problems
    assert problem.surroundings
    assert str(problem).startswith(f'{path}:5: app.shop.hand_over."/a": ')
    (tmp_path / "shop" / "media").mkdir()
    assert read([str(path)]).problems == ()
