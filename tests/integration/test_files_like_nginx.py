"""Promise: files are served as nginx serves them, and where they are not README says so, with the reason.

README's table is made of what both answer to the same requests (``tests/support/files_like_nginx.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support import beside_nginx, tools
from tests.support.files_asked import CAPABILITIES, ROWS, Row
from tests.support.files_like_nginx import README, VERSION, Pair, read, render, section, unreasoned

TABLE = section(README.read_text())
TOLD = read(TABLE)
EVERY_ROW = pytest.mark.parametrize(
    ("number", "row"),
    [
        pytest.param(
            number,
            row,
            id=f"{number}-" + re.sub("[^a-z0-9]+", "-", row.capability.lower()).strip("-"),
            marks=[pytest.mark.needs("strace")] if row.is_traced else [],
        )
        for number, row in enumerate(ROWS)
    ],
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


@EVERY_ROW
def test_pyserve_answers_as_the_table_says(pair: Pair, number: int, row: Row) -> None:
    assert pair.answer("pyserve", row) == TOLD[number].pyserve, row.request


@EVERY_ROW
@pytest.mark.needs("nginx")
def test_nginx_answers_as_the_table_says(pair: Pair, number: int, row: Row) -> None:
    version = beside_nginx.nginx_version()
    if not version.startswith(VERSION + "."):
        tools.not_run(f"the table is of nginx {VERSION}, this is {version}", installable=False)
    assert pair.answer("nginx", row) == TOLD[number].nginx, row.request
