"""Which files mean new code, and what counts as a change of them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from pyserve.cli import sources
from pyserve.cli.sources import DEFAULT_PATTERNS, Sources, changes, forget_bytecode


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x = 1\n")


def look(root: Path, *patterns: str) -> list[str]:
    return sorted(Sources(str(root), [*DEFAULT_PATTERNS, *patterns]).look())


def test_code_and_templates_below_the_root_are_found(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "shop/views.py", "shop/templates/deep/page.html", ".env", "notes.txt", "stub.pyi")
    assert look(tmp_path) == [".env", "a.py", "shop/templates/deep/page.html", "shop/views.py"]


def test_more_files_can_be_named(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "conf/shop.toml", "other/shop.toml", "words.yaml")
    assert look(tmp_path, "conf/*.toml", "*.yaml") == ["a.py", "conf/shop.toml", "words.yaml"]


def test_what_does_not_belong_to_the_project_is_not_entered(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.py",
        ".git/x.py",
        "node_modules/x.py",
        "__pycache__/x.py",
        "any_name/lib/x.py",
        "lib/site-packages/x.py",
    )
    (tmp_path / "any_name/pyvenv.cfg").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert look(tmp_path) == ["a.py"]


def test_what_editors_lay_beside_a_file_is_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.py", ".a.py.swp", ".hidden.py", "a.py~", "4913")
    (tmp_path / ".#a.py").symlink_to("somebody@nowhere:1")
    assert look(tmp_path) == ["a.py"]


def test_a_link_counts_as_what_it_points_to(tmp_path: Path) -> None:
    put(tmp_path, "one/x.py", "two/real.py")
    link = tmp_path / "one/link.py"
    link.symlink_to("../two/real.py")
    watched = Sources(str(tmp_path / "one"), DEFAULT_PATTERNS)
    before = watched.look()
    (tmp_path / "two/real.py").write_text("x = 22\n")
    assert changes(before, watched.look()) == ["link.py"]


def test_new_changed_renamed_and_removed_files_are_changes(tmp_path: Path) -> None:
    put(tmp_path, "same.py", "written.py", "replaced.py", "removed.py")
    watched = Sources(str(tmp_path), DEFAULT_PATTERNS)
    before = watched.look()
    (tmp_path / "written.py").write_text("x = 22\n")
    # As editors do it; with the same size and time, as a file copied with its times.
    put(tmp_path, "tmp")
    stat = os.stat(tmp_path / "replaced.py")
    os.utime(tmp_path / "tmp", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(tmp_path / "tmp", tmp_path / "replaced.py")
    os.unlink(tmp_path / "removed.py")
    put(tmp_path, "new/made.py")
    assert changes(before, watched.look()) == ["new/made.py", "removed.py", "replaced.py", "written.py"]


def test_a_root_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere") == []


def test_looking_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *(f"{folder}/{file}.py" for folder in range(3) for file in range(3)))
    monkeypatch.setattr(sources, "MOST_ENTRIES", 8)
    watched = Sources(str(tmp_path), DEFAULT_PATTERNS)
    assert len(watched.look()) == 3
    assert watched.is_cut


def test_bytecode_of_changed_modules_alone_is_removed(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "ab.py", "page.html")
    kept = Path(importlib.util.cache_from_source(str(tmp_path / "ab.py")))
    gone = Path(importlib.util.cache_from_source(str(tmp_path / "a.py")))
    kept.parent.mkdir()
    for path in (kept, gone):
        path.write_bytes(b"")
    forget_bytecode(str(tmp_path), ["a.py", "page.html", "removed/since.py"])
    assert (kept.exists(), gone.exists()) == (True, False)
