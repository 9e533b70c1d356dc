"""Opening a file below a folder: what the kernel can tell without its disks, what it gets wrong, what stays open."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyserve.files import opening
from pyserve.files.opening import (
    RootMissing,
    open_below,
    open_folder_below,
    open_root,
    open_single,
)
from tests.support.served import open_descriptors
from tests.support.waiting import wait_until

Call = Callable[[int, bytes, int, int], int]


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    opening._system_call()
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"a")
    (folder / "inner" / "b.txt").write_bytes(b"b")
    (folder / "inner" / "up").symlink_to("../a.txt")
    (folder / "inner" / "around").symlink_to("../inner")
    (folder / "absolute").symlink_to(folder / "a.txt")
    return folder


@pytest.fixture
def folder(root: Path) -> Iterator[int]:
    fd = open_root(os.fsencode(root))
    yield fd
    os.close(fd)


def read(fd: int) -> bytes:
    try:
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Call, int, bytes, int, int], int]) -> None:
    """Put something between us and the system call; nothing, where the system has none."""
    real = opening._system_call()
    if real is None:
        pytest.skip("no openat2 here")
    monkeypatch.setattr(opening, "_system_call", lambda: lambda *arguments: answer(real, *arguments))


def never_in_memory(real: Call, folder: int, name: bytes, flags: int, resolve: int) -> int:
    return -errno.EAGAIN if resolve & opening._CACHED else real(folder, name, flags, resolve)


@pytest.mark.skipif(opening._system_call() is None, reason="this system can't tell what is in memory")
def test_what_is_in_memory_is_opened_without_waiting(root: Path, folder: int) -> None:
    name = os.fsencode(root)
    for left in reversed(range(5)):  # a machine that is short of memory may have forgotten them already
        read(open_below(folder, name, b"inner/b.txt", follows_links=False))
        read(open_single(os.fsencode(root / "a.txt")))
        try:
            assert read(open_below(folder, name, b"inner/b.txt", follows_links=False, in_memory=True)) == b"b"
            assert read(open_single(os.fsencode(root / "a.txt"), in_memory=True)) == b"a"
            os.close(open_root(name, in_memory=True))
            break
        except BlockingIOError:
            if not left:
                raise


def test_what_is_not_in_memory_raises_blocking(root: Path, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, never_in_memory)
    name = os.fsencode(root)
    for ask in (
        lambda: open_below(folder, name, b"a.txt", follows_links=False, in_memory=True),
        lambda: open_below(folder, name, b"missing", follows_links=True, in_memory=True),
        lambda: open_root(name, in_memory=True),
        lambda: open_single(name + b"/a.txt", in_memory=True),
    ):
        with pytest.raises(BlockingIOError):
            ask()
    assert read(open_below(folder, name, b"a.txt", follows_links=False)) == b"a"


def test_without_openat2_nothing_is_known_to_be_in_memory(
    root: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_system_call", lambda: None)
    with pytest.raises(BlockingIOError):
        open_below(folder, os.fsencode(root), b"a.txt", follows_links=False, in_memory=True)
    with pytest.raises(BlockingIOError):
        open_root(os.fsencode(root), in_memory=True)


def test_a_link_that_leads_elsewhere_is_not_for_the_loop(root: Path, folder: int) -> None:
    name = os.fsencode(root)
    assert read(open_below(folder, name, b"absolute", follows_links=False)) == b"a"
    with pytest.raises(BlockingIOError):
        open_below(folder, name, b"absolute", follows_links=False, in_memory=True)


@pytest.mark.parametrize("name", [b"inner/up", b"inner/around/up"])
def test_links_are_followed_whatever_is_renamed_on_the_machine(
    root: Path, folder: int, tmp_path: Path, name: bytes
) -> None:
    """The kernel gives up with EAGAIN where it meets ``..`` while something is renamed, anywhere (openat2(2))."""
    (tmp_path / "0").touch()
    program = "import os, itertools\nfor number in itertools.count(): os.rename(str(number % 2), str((number + 1) % 2))"
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) as renaming:
        try:
            wait_until((tmp_path / "1").exists, "the first of many renames")
            for _ in range(5000):
                assert read(open_below(folder, os.fsencode(root), name, follows_links=False)) == b"a"
        finally:
            renaming.kill()


def test_a_link_is_followed_though_the_kernel_gives_up(
    root: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, lambda real, *arguments: -errno.EAGAIN)
    name = os.fsencode(root)
    assert read(open_below(folder, name, b"inner/up", follows_links=False)) == b"a"
    fd = open_folder_below(folder, name, b"inner/around", follows_links=False)
    assert sorted(os.listdir(fd)) == ["around", "b.txt", "up"]
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        open_below(folder, name, b"missing", follows_links=False)


def test_a_missing_root_is_no_missing_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(RootMissing):
            open_root(os.fsencode(tmp_path / name))


@pytest.mark.parametrize("follows_links", [False, True])
@pytest.mark.parametrize("has_openat2", [False, True])
def test_folders_are_opened_for_listing_and_nothing_else_is(
    root: Path, folder: int, monkeypatch: pytest.MonkeyPatch, follows_links: bool, has_openat2: bool
) -> None:
    if not has_openat2:
        monkeypatch.setattr(opening, "_system_call", lambda: None)
    name = os.fsencode(root)
    (root / "out").symlink_to("..")
    for inner, names in ((b"", {"a.txt", "absolute", "inner", "out"}), (b"inner", {"around", "b.txt", "up"})):
        fd = open_folder_below(folder, name, inner, follows_links=follows_links)
        assert set(os.listdir(fd)) == names
        os.close(fd)
    for wrong in (b"a.txt", b"missing", b"..", b"inner/..", b"inner/up"):
        with pytest.raises(OSError, match=r"directory|relative"):
            open_folder_below(folder, name, wrong, follows_links=follows_links)
    if follows_links:
        os.close(open_folder_below(folder, name, b"out", follows_links=True))
    else:
        with pytest.raises(FileNotFoundError):
            open_folder_below(folder, name, b"out", follows_links=False)
