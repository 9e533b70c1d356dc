"""The table of look-ups finds what a plain list of routes, asked one by one, would find."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pyserve.routing.matchers import PathTable

SEGMENT = st.sampled_from(["a", "b", "ab", ""])
PATH = st.lists(SEGMENT, min_size=0, max_size=4).map(lambda parts: "/" + "/".join(parts))
ROUTE = st.one_of(
    PATH,
    PATH.map(lambda path: path.rstrip("/") + "/*"),
    st.sampled_from(["~^/a/(.*)$", "~b$", "~/(?P<x>a)/", "~^/$"]),
)


def ask_one_by_one(routes: list[str], path: str) -> tuple[int, str] | None:
    for number, route in enumerate(routes):
        if route.startswith("~"):
            found = re.search(route[1:], path)
            if found:
                return number, (found[1].removeprefix("/") if found.re.groups else "")
        elif route.endswith("/*"):
            if path == route[:-2] or path.startswith(route[:-1]):
                return number, path[len(route) - 1 :]
        elif path == route:
            return number, ""
    return None


@given(st.lists(ROUTE, max_size=8), PATH)
def test_the_table_keeps_first_match_order(routes: list[str], path: str) -> None:
    found = PathTable(routes).find(path)
    assert (found and found[:2]) == ask_one_by_one(routes, path)
