"""What a scan of a folder names, on a real file system."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyserve.files.folder import scan
from pyserve.files.listing import Item

ROOT = Path(__file__).resolve().parent.parent.parent
MTIME_S = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "public"
    path.mkdir()
    return path


@pytest.fixture
def fd(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def names(
    fd: int, *, most: int = 1000, shows_hidden: bool = False, is_allowed: Callable[[bytes], bool] | None = None
) -> list[bytes]:
    items, is_cut = scan(fd, most=most, shows_hidden=shows_hidden, is_allowed=is_allowed)
    assert not is_cut
    return sorted(item.name for item in items)


def yes(name: bytes) -> bool:
    return True


def test_files_and_folders_come_with_size_and_time(folder: Path, fd: int) -> None:
    (folder / "a.txt").write_bytes(b"12345")
    (folder / "inner").mkdir()
    (folder / "inner" / "not shown").touch()
    for name in ("a.txt", "inner"):
        os.utime(folder / name, ns=(0, MTIME_S * 10**9 + 999_999_999))
    items, is_cut = scan(fd, most=2, shows_hidden=False, is_allowed=None)
    assert sorted(items) == [Item(b"a.txt", False, 5, MTIME_S), Item(b"inner", True, 0, MTIME_S)]
    assert not is_cut


def test_an_empty_folder_has_nothing(fd: int) -> None:
    assert scan(fd, most=0, shows_hidden=True, is_allowed=yes) == ([], False)


def test_a_time_before_1970_is_rounded_down(folder: Path, fd: int) -> None:
    (folder / "old").touch()
    os.utime(folder / "old", ns=(0, -1))
    items, _ = scan(fd, most=1, shows_hidden=False, is_allowed=None)
    assert items == [Item(b"old", False, 0, -1)]


def test_hidden_names_are_left_out_unless_asked_for(folder: Path, fd: int) -> None:
    (folder / ".well-known").mkdir()
    for name in (".env", "..data", "a"):
        (folder / name).touch()
    assert names(fd) == [b"a"]
    assert names(fd, shows_hidden=True) == [b"..data", b".env", b".well-known", b"a"]


def test_what_is_neither_file_nor_folder_is_left_out(folder: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a").touch()
    os.mkfifo(folder / "fifo")
    monkeypatch.chdir(folder)  # the whole path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        os.symlink("fifo", "to-fifo")
        os.symlink("/dev/null", "to-device")
        assert names(fd, is_allowed=yes) == [b"a"]


def test_links_are_left_out_if_nobody_says_where_they_may_lead(folder: Path, fd: int) -> None:
    (folder / "a").touch()
    (folder / "link").symlink_to("a")
    assert names(fd) == [b"a"]


def test_a_link_is_shown_as_what_it_leads_to_if_that_is_allowed(folder: Path, fd: int) -> None:
    (folder / "a").write_bytes(b"123")
    (folder / "inner").mkdir()
    (folder.parent / "secret").write_bytes(b"1234567")
    (folder / "to-file").symlink_to("a")
    (folder / "to-folder").symlink_to("inner")
    (folder / "out").symlink_to("../secret")
    asked = []

    def is_inside(name: bytes) -> bool:
        asked.append(name)
        return name != b"out"

    items, _ = scan(fd, most=10, shows_hidden=False, is_allowed=is_inside)
    found = {item.name: (item.is_folder, item.size) for item in items}
    assert found == {b"a": (False, 3), b"inner": (True, 0), b"to-file": (False, 3), b"to-folder": (True, 0)}
    assert sorted(asked) == [b"out", b"to-file", b"to-folder"]


def test_links_that_lead_nowhere_or_in_circles_are_left_out(folder: Path, fd: int) -> None:
    (folder / "nowhere").symlink_to("missing")
    (folder / "circle").symlink_to("circle")
    assert names(fd, is_allowed=yes) == []


def test_a_link_that_can_not_be_judged_is_left_out(folder: Path, fd: int) -> None:
    (folder / "a").touch()
    (folder / "link").symlink_to("a")

    def fails(name: bytes) -> bool:
        raise PermissionError

    assert names(fd, is_allowed=fails) == [b"a"]


def test_entries_that_vanish_meanwhile_are_left_out(folder: Path, fd: int) -> None:
    (folder.parent / "target").touch()
    for number in range(20):
        (folder / f"link-{number}").symlink_to("../target")
    kept = []

    def removes_the_others(name: bytes) -> bool:
        kept.append(name)
        for other in os.listdir(folder):
            if os.fsencode(other) != name:
                (folder / other).unlink()
        return True

    assert names(fd, is_allowed=removes_the_others) == kept
    assert len(kept) == 1


def test_no_more_than_asked_for_are_returned_and_it_says_so(folder: Path, fd: int) -> None:
    for number in range(10):
        (folder / str(number)).touch()
        (folder / f".{number}").touch()
    items, is_cut = scan(fd, most=4, shows_hidden=False, is_allowed=None)
    assert (len(items), is_cut) == (4, True)
    items, is_cut = scan(fd, most=10, shows_hidden=False, is_allowed=None)
    assert (len(items), is_cut) == (10, False)
    assert scan(fd, most=0, shows_hidden=False, is_allowed=None) == ([], True)


def test_a_descriptor_stays_open_and_can_be_scanned_again(folder: Path, fd: int) -> None:
    for number in range(5):
        (folder / str(number)).touch()
    scan(fd, most=2, shows_hidden=False, is_allowed=None)
    assert names(fd) == names(fd) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_is_no_folder_raises(folder: Path) -> None:
    (folder / "a").touch()
    descriptor = os.open(folder / "a", os.O_RDONLY)
    try:
        with pytest.raises(NotADirectoryError):
            scan(descriptor, most=1, shows_hidden=False, is_allowed=None)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}])
def test_names_are_the_raw_bytes_whatever_the_locale(environment: dict[str, str], folder: Path) -> None:
    expected = sorted([b"a", "é".encode(), b"\xe9\xff", b"new\nline"])
    for name in expected:
        os.close(os.open(os.path.join(os.fsencode(folder), name), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    code = (
        "import os, sys; from pyserve.files.folder import scan; fd = os.open(sys.argv[1], os.O_RDONLY);"
        "items, _ = scan(fd, most=9, shows_hidden=False, is_allowed=None);"
        "print(ascii(sorted(item.name for item in items)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == ascii(expected) + "\n"
