"""When a change counts: complete, and once."""

from __future__ import annotations

from pathlib import Path

from pyserve.cli.sources import Sources
from pyserve.cli.watch import Root


def root_of(folder: Path) -> Root:
    (folder / "a.py").write_text("x = 1\n")
    return Root(Sources(str(folder), ["*.py"]), ["shop"])


def test_nothing_new_is_no_change_and_nobody_waits(tmp_path: Path) -> None:
    waits: list[float] = []
    assert root_of(tmp_path).changed(waits.append) == []
    assert waits == []


def test_what_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    unwritten = ["b.py", "c.py", "d.py"]

    def write_one(pause_s: float) -> None:
        if unwritten:
            (tmp_path / unwritten.pop()).write_text("x = 1\n")

    (tmp_path / "a.py").write_text("")
    assert root.changed(write_one) == ["a.py", "b.py", "c.py", "d.py"]
    assert root.changed(write_one) == []


def test_a_file_that_is_emptied_and_then_written_counts_as_written(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    (tmp_path / "a.py").write_text("")
    assert root.changed(lambda _: (tmp_path / "a.py").write_text("x = 22\n")) == ["a.py"]
    assert root.seen["a.py"][1] == len("x = 22\n")
    assert root.changed(lambda _: None) == []
