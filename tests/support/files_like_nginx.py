"""The table in README that puts pyserve beside nginx, request by request: how it is made, read and written.

Both servers are asked what ``files_asked`` says; what they answer becomes the cells. ``python -m
tests.support.files_like_nginx`` prints the table, ``--write`` puts it into README; a difference without a reason, or a
reason without a difference, is an error. ``tests/integration/test_files_like_nginx.py`` holds README to it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.support import beside_nginx
from tests.support.files_asked import ROWS, Row

README = Path(__file__).resolve().parents[2] / "README.md"
START, END = "<!-- files like nginx -->\n", "<!-- end -->\n"
VERSION = "1.22"
"""The nginx whose answers stand in the table: Debian 12's."""
THE_SAME = "the same"
_HEAD = f"| capability | request | nginx {VERSION} | pyserve | why |\n|---|---|---|---|---|\n"


class Answers(NamedTuple):
    nginx: str
    pyserve: str


class Pair:
    """Both servers on one folder, each started when the first row needs it. ``with`` it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._public = folder / "public"
        self._servers: dict[tuple[str, bool], beside_nginx.Server] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Pair:
        self._public.mkdir()
        beside_nginx.make_folder(self._public)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def answer(self, name: str, row: Row) -> str:
        """Say what ``nginx`` or ``pyserve`` answers."""
        key = (name, row.is_traced)
        if key not in self._servers:
            folder = self._folder / (f"{name}-traced" if row.is_traced else name)
            if name == "nginx":
                started = beside_nginx.nginx(folder, self._public, traces=row.is_traced)
            else:
                started = beside_nginx.pyserve(folder, self._public, traces=row.is_traced)
            self._servers[key] = self._stack.enter_context(started)
        return row.answer(self._servers[key])


def render(answers: Sequence[Answers]) -> str:
    """Return the table; a capability stands in its first row only."""
    lines = []
    before = ""
    for row, (nginx, pyserve) in zip(ROWS, answers, strict=True):
        capability = "" if row.capability == before else row.capability
        before = row.capability
        cells = (capability, row.request, nginx, THE_SAME if pyserve == nginx else pyserve, row.why)
        assert not any("|" in cell or "\n" in cell for cell in cells), cells
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|\n")
    return _HEAD + "".join(lines)


def section(readme: str) -> str:
    """Return what stands between the two comments."""
    return readme.split(START)[1].split(END)[0]


def read(table: str) -> list[Answers]:
    """Return the answers that a table has, row by row."""
    answers = []
    for line in table.splitlines()[2:]:
        nginx, pyserve = [cell.strip() for cell in line.split("|")[3:5]]
        answers.append(Answers(nginx, nginx if pyserve == THE_SAME else pyserve))
    return answers


def unreasoned(answers: Sequence[Answers]) -> list[str]:
    """Return the rows that lack a reason or have one too many."""
    return [
        f"{row.request}: " + ("a difference without a reason" if differs else "a reason without a difference")
        for row, (nginx, pyserve) in zip(ROWS, answers, strict=True)
        if (differs := nginx != pyserve) != bool(row.why)
    ]


def main() -> int:
    version = beside_nginx.nginx_version()
    if not version.startswith(VERSION + "."):
        print(f"the table is of nginx {VERSION}; here is {version or 'none'}")
        return 1
    with tempfile.TemporaryDirectory() as folder, Pair(Path(folder)) as pair:
        answers = [Answers(pair.answer("nginx", row), pair.answer("pyserve", row)) for row in ROWS]
    table = render(answers)
    print(table)
    problems = unreasoned(answers)
    print(*problems, sep="\n")
    if sys.argv[1:] == ["--write"] and not problems:
        readme = README.read_text()
        README.write_text(readme.replace(START + section(readme) + END, START + table + END))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
