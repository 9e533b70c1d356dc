"""Lines of keys in a TOML text."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserve.config.locate import find_lines

TEXT = '''\
# a comment with [brackets] and = signs
[server]
http = [   # a list
  "a]",
  'b', # "c"
]
limits.max_head = "1KiB"

[site."a.b"]
hosts = ["x"]
text = """
[not.a.table]
"quoted" = 1
"""
raw = \'\'\'
x = [1
\'\'\'
inline = { one = 1, "two" = { three = [ 3,
  4 ] } }
date = 1979-05-27T07:32:00Z

[[site."a.b".route]]
path = "/1"

[[site."a.b".route]]
path = "/2"
[site."a.b".route.redirect]
to = "/"
[[  site . 'x'.route  ]]
"""a" = 1'''.replace('"""a"', '"a"')

LINES: dict[tuple[str | int, ...], int] = {
    ("server",): 2,
    ("server", "http"): 3,
    ("server", "http", 0): 4,
    ("server", "http", 1): 5,
    ("server", "limits", "max_head"): 7,
    ("site",): 9,
    ("site", "a.b"): 9,
    ("site", "a.b", "text"): 11,
    ("site", "a.b", "raw"): 15,
    ("site", "a.b", "inline", "one"): 18,
    ("site", "a.b", "inline", "two", "three", 0): 18,
    ("site", "a.b", "inline", "two", "three", 1): 19,
    ("site", "a.b", "date"): 20,
    ("site", "a.b", "route"): 22,
    ("site", "a.b", "route", 0): 22,
    ("site", "a.b", "route", 0, "path"): 23,
    ("site", "a.b", "route", 1): 25,
    ("site", "a.b", "route", 1, "path"): 26,
    ("site", "a.b", "route", 1, "redirect"): 27,
    ("site", "a.b", "route", 1, "redirect", "to"): 28,
    ("site", "x", "route", 0): 29,
    ("site", "x", "route", 0, "a"): 30,
}


@pytest.mark.parametrize(("path", "line"), LINES.items(), ids=lambda value: str(value))
def test_a_key_is_found_in_its_line(path: tuple[str | int, ...], line: int) -> None:
    assert find_lines(TEXT)[path] == line


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= paths_of(inner, (*path, key))
    return found


def test_every_key_of_the_tree_has_a_line() -> None:
    assert paths_of(tomllib.loads(TEXT)) == find_lines(TEXT).keys()


@given(st.text(alphabet="[]{}=\"'\\#,.\n ab1", max_size=60))
def test_any_text_is_survived_and_valid_ones_are_found_whole(text: str) -> None:
    lines = find_lines(text)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert paths_of(tree) == lines.keys()


def test_a_quoted_key_with_an_escape_that_does_not_exist_is_survived() -> None:
    assert find_lines('a = 1\n"\\1" = 2') == {("a",): 1}


def test_brackets_in_brackets_in_brackets_are_survived() -> None:
    assert find_lines("a = " + "[" * 100_000)[("a",)] == 1
