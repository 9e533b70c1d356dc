"""Promise: files are served as nginx serves them, and where they are not README says so, with the reason.

README's table is made of what both answer to the same requests (``tests/support/files_like_nginx.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import beside_nginx, tools
from tests.support.files_asked import CAPABILITIES, ROWS
from tests.support.files_like_nginx import README, VERSION, Pair, read, render, section, unreasoned

TABLE = section(README.read_text())
TOLD = read(TABLE)
KINDS = pytest.mark.parametrize(
    "is_traced",
    [False, pytest.param(True, marks=pytest.mark.needs("strace"))],
    ids=["what a client sees", "what the kernel sees"],
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("files")) as pair:
        yield pair


def test_the_table_has_these_rows_and_their_reasons() -> None:
    assert len(TOLD) == len(ROWS), "python -m tests.support.files_like_nginx --write"
    assert render(TOLD) == TABLE


def test_no_difference_is_without_its_reason() -> None:
    assert not unreasoned(TOLD)


def test_every_capability_has_a_row() -> None:
    assert list(dict.fromkeys(row.capability for row in ROWS)) == list(CAPABILITIES)


@KINDS
def test_pyserve_answers_as_the_table_says(pair: Pair, is_traced: bool) -> None:
    assert answers(pair, "pyserve", is_traced) == told("pyserve", is_traced)


@pytest.mark.needs("nginx")
@KINDS
def test_nginx_answers_as_the_table_says(pair: Pair, is_traced: bool) -> None:
    version = beside_nginx.nginx_version()
    if not version.startswith(VERSION + "."):
        tools.not_run(f"the table is of nginx {VERSION}, this is {version}", installable=False)
    assert answers(pair, "nginx", is_traced) == told("nginx", is_traced)


def answers(pair: Pair, name: str, is_traced: bool) -> dict[str, str]:
    return {f"{row.capability}: {row.request}": pair.answer(name, row) for row in ROWS if row.is_traced == is_traced}


def told(name: str, is_traced: bool) -> dict[str, str]:
    return {
        f"{row.capability}: {row.request}": getattr(told, name)
        for row, told in zip(ROWS, TOLD, strict=True)
        if row.is_traced == is_traced
    }
