"""What a path means in a folder, which look is enough, and what an entry says of itself."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.config.model import Compress, Files
from pyserve.files import disks, opening
from pyserve.files.entry import FileEntry
from pyserve.files.finder import Finder, IsFolder, IsListing, IsStatus, coded_key, made_key
from pyserve.files.opening import RootMissing
from tests.support.served import open_descriptors, write

LATE_NS = 4_000_000_000_000_000_000


@pytest.fixture(autouse=True)
def _nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(disks, "is_local", lambda fd: True)
    opening._system_call()
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    for name in ("index.html", "a.html", "docs/main.html", "docs/index.html", ".hidden/x", "docs/.x", ".well-known/y"):
        write(folder / name, name.encode())
    (folder / "empty").mkdir()
    return folder


def find(finder: Finder, rest: str, wall_ns: int = LATE_NS) -> FileEntry:
    entry = finder.find(rest, wall_ns, in_memory=False, known=lambda key: None)
    entry.close()
    return entry


@pytest.mark.parametrize(
    ("rest", "shown", "hidden"),
    [
        ("a.html", "a.html", "a.html"),
        ("docs/", "docs/main.html", "docs/main.html"),
        ("", "index.html", "index.html"),
        (".hidden/x", ".hidden/x", None),
        ("docs/.x", "docs/.x", None),
        (".well-known/y", ".well-known/y", ".well-known/y"),
        ("docs/../a.html", None, None),
        ("../public/a.html", None, None),
        (".", None, None),
        ("./a.html", None, None),
        ("docs//index.html", None, None),
        ("/a.html", None, None),
        ("a.html/", None, None),
        ("docs/..", None, None),
    ],
)
def test_names_with_a_dot_are_found_only_where_that_is_asked_for(
    root: Path, rest: str, shown: str | None, hidden: str | None
) -> None:
    for dotfiles, wanted in ((True, shown), (False, hidden)):
        finder = Finder(Files(str(root), index=("main.html", "index.html"), dotfiles=dotfiles))
        if wanted is None:
            with pytest.raises(OSError, match=r"not found|relative|directory"):
                find(finder, rest)
        else:
            assert find(finder, rest).body == wanted.encode()


def test_what_is_no_file_is_said_by_its_kind(root: Path) -> None:
    finder = Finder(Files(str(root)))
    for rest in ("docs", "empty", ".well-known"):
        with pytest.raises(IsFolder):
            find(finder, rest)
    with pytest.raises(FileNotFoundError):
        find(finder, "empty/")
    with pytest.raises(IsListing):
        find(Finder(Files(str(root), autoindex=True)), "empty/")
    for rest in (".hidden/", "../", "nowhere//"):
        with pytest.raises(FileNotFoundError):
            find(Finder(Files(str(root), autoindex=True)), rest)
    with pytest.raises(IsStatus) as found:
        find(Finder(Files(str(root), tries=("{path}", "=410"))), "nowhere")
    assert found.value.status == 410
    with pytest.raises(RootMissing):
        find(Finder(Files(str(root / "nowhere"))), "a.html")


def test_a_listed_folder_that_is_none_is_missing(root: Path) -> None:
    finder = Finder(Files(str(root), autoindex=True, dotfiles=True))
    for rest in ("nowhere/", "a.html/", "../", "docs/../../"):
        with pytest.raises(OSError, match=r"directory|relative"):
            finder.list_folder(rest)
    items, is_cut = finder.list_folder("")
    assert sorted(item.name for item in items) == [
        b".hidden",
        b".well-known",
        b"a.html",
        b"docs",
        b"empty",
        b"index.html",
    ]
    assert not is_cut


def test_one_look_is_enough_for_what_nothing_can_come_before(root: Path) -> None:
    quick = {
        (Files(str(root)), "a.html"): True,
        (Files(str(root)), ""): True,
        (Files(str(root), index=("nowhere.html", "index.html")), ""): False,
        (Files(str(root), tries=("{path}", "{path}.html")), "a.html"): True,
        (Files(str(root), tries=("{path}", "{path}.html")), "a"): False,
        (Files(str(root), tries=("{path}", "index.html")), "nowhere"): True,  # the look at "nowhere" comes each time
        (Files(str(root / "a.html"), is_single=True), ""): True,
    }
    for (files, rest), wanted in quick.items():
        finder = Finder(files)
        entry = find(finder, rest)
        assert entry.is_quick is wanted, (files, rest)
        assert finder.is_unchanged(entry, LATE_NS) is wanted


def test_any_change_of_a_file_or_of_what_lies_beside_it_is_seen_in_two_looks(root: Path) -> None:
    finder = Finder(Files(str(root)), clock=itertools.count(1.0).__next__)  # a second between any two looks
    path = root / "a.html"

    def changed() -> bool:
        entry = find(finder, "a.html")
        assert finder.is_unchanged(entry, LATE_NS)
        change()
        return not finder.is_unchanged(entry, LATE_NS)

    for change in (
        lambda: path.write_bytes(b"other length"),
        lambda: os.utime(path, (5, 5)),
        lambda: path.chmod(0o600),
        lambda: write(root / "a.html.gz", b"packed", age_s=-(10**9)),
        lambda: (root / "a.html.gz").unlink(),
        lambda: os.replace(root / "index.html", path),
        lambda: path.unlink(),
    ):
        assert changed(), change


def test_what_changed_just_now_is_looked_at_again(root: Path) -> None:
    finder = Finder(Files(str(root)))
    now_ns = (root / "a.html").stat().st_mtime_ns
    assert not finder.is_unchanged(find(finder, "a.html", now_ns), now_ns)


def test_a_folder_that_changed_just_now_is_looked_at_again_for_coded_files(root: Path) -> None:
    """A coded file may come within the same tick."""
    finder = Finder(Files(str(root)), clock=itertools.count(1.0).__next__)  # a second between any two looks
    now_ns = root.stat().st_mtime_ns  # the file itself is older
    entry = find(finder, "a.html", now_ns)
    assert entry.is_settled
    assert not finder.is_unchanged(entry, now_ns)
    assert Finder(Files(str(root), precompressed=False)).is_unchanged(
        find(Finder(Files(str(root), precompressed=False)), "a.html", now_ns), now_ns
    )


def test_types_and_charset_are_those_of_the_config(root: Path) -> None:
    for name in ("a.gmi", "b.TXT", "c.json", "d.unknown", "noext", ".gmi", "e.svg", "f.txt.gmi"):
        write(root / "types" / name, b"x")
    files = Files(str(root), types=(("gmi", "text/gemini"), ("json", "text/x-json;charset=x")), dotfiles=True)
    for charset, end in (("utf-8", "; charset=utf-8"), ("latin-1", "; charset=latin-1"), ("", "")):
        finder = Finder(files._replace(charset=charset))
        wanted = {
            "a.gmi": "text/gemini" + end,
            "b.TXT": "text/plain" + end,
            "c.json": "text/x-json;charset=x",
            "d.unknown": "application/octet-stream",
            "noext": "application/octet-stream",
            ".gmi": "application/octet-stream",
            "e.svg": "image/svg+xml" + end,
            "f.txt.gmi": "text/gemini" + end,
        }
        for name, content_type in wanted.items():
            assert find(finder, f"types/{name}").content_type.decode() == content_type


def test_heads_say_what_is_known(root: Path) -> None:
    write(root / "style.css", b"x" * 2000)
    write(root / "style.css.gz", b"packed")
    finder = Finder(Files(str(root), cache="max-age=1"), Compress())
    entry = find(finder, "style.css")
    assert (entry.beside, entry.offered) == ((b"gzip",), (b"br", b"zstd", b"gzip"))
    assert entry.block == b"content-type: text/css; charset=utf-8\r\n" + entry.unchanged_block
    assert entry.unchanged_block.endswith(b"cache-control: max-age=1\r\nvary: accept-encoding\r\n")
    made = finder.code(entry, b"coded", b"br")
    assert made.etag == b"W/" + entry.etag
    assert b"accept-ranges" not in made.block
    assert b"content-encoding: br\r\n" in made.block
    assert b"content-encoding" not in made.unchanged_block
    coded = finder.find_coded(entry, b"gzip", LATE_NS, in_memory=False)
    assert coded.etag not in (entry.etag, made.etag)
    assert b"accept-ranges: bytes\r\n" in coded.unchanged_block
    assert len({entry.key, made.key, coded.key, coded_key(entry, b"br"), made_key(entry, b"gzip")}) == 5
    small = find(finder, "a.html")
    assert (small.offered, small.varies) == ((), False)


def test_the_codings_of_the_config_come_before_those_that_only_lie_there(root: Path) -> None:
    write(root / "style.css", b"x" * 2000)
    for suffix in (".br", ".gz", ".zst"):
        write(root / f"style.css{suffix}", b"packed")
    entry = find(Finder(Files(str(root)), Compress(codings=("gzip",))), "style.css")
    assert entry.offered == (b"gzip", b"br", b"zstd")
    assert find(Finder(Files(str(root))), "style.css").offered == (b"br", b"zstd", b"gzip")


def test_numbers_are_never_used_twice(root: Path) -> None:
    finders = [Finder(Files(str(root))) for _ in range(3)]
    assert len({finder.number for finder in finders}) == 3


def test_where_a_folder_is_is_judged_once_and_again_when_it_moves(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []
    monkeypatch.setattr(disks, "is_local", lambda fd: not judged.append(fd))
    finder = Finder(Files(str(root)))
    assert not finder.is_local
    find(finder, "a.html")
    find(finder, "index.html")
    assert finder.is_local
    assert len(judged) == 1
    finder._device = 12345  # as if the link that it is led to another disk by now
    find(finder, "a.html")
    assert len(judged) == 2
