"""The cache's bounds: count, bytes, descriptors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyserve.files.cache import FileCache, LookUp
from pyserve.files.entry import SMALL_BYTES, FileEntry


def load(folder: Path, number: int, size: int) -> FileEntry:
    path = folder / str(number)
    path.write_bytes(b"x" * size)
    entry = FileEntry((1, str(number)), b"", os.fsencode(path), is_quick=True)
    entry.load(os.open(path, os.O_RDONLY), b"text/plain", 4_000_000_000_000_000_000)
    entry.write_heads(b"")
    return entry


def names(cache: FileCache) -> list[str]:
    return [name for _, name in cache.entries]


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_the_number_of_entries_is_bounded_and_what_is_asked_for_stays(tmp_path: Path) -> None:
    cache = FileCache(max_entries=3)
    for number in range(10):
        cache.put(load(tmp_path, number, 10))
        cache.entries[1, "0"].is_hot = True  # asked for between any two others
    assert len(cache.entries) == 3
    assert "0" in names(cache)
    assert "9" in names(cache)


def test_the_bytes_are_bounded(tmp_path: Path) -> None:
    cache = FileCache(max_bytes=100_000)
    for number in range(10):
        cache.put(load(tmp_path, number, 40_000))
    assert names(cache)[-1] == "9"
    assert len(cache.entries) == 2
    cache.clear()
    assert cache._bytes == 0


def test_the_newest_entry_is_kept_whatever_the_bound(tmp_path: Path) -> None:
    cache = FileCache(max_bytes=10, max_open=0)
    small, big = load(tmp_path, 1, 5000), load(tmp_path, 2, SMALL_BYTES + 1)
    cache.put(small)
    cache.put(big)
    assert names(cache) == ["2"]
    assert is_open(big.fd)
    cache.clear()


def test_descriptors_are_bounded_and_closed_when_nobody_sends_from_them(tmp_path: Path) -> None:
    cache = FileCache(max_open=2)
    entries = [load(tmp_path, number, SMALL_BYTES + 1) for number in range(4)]
    fds = [entry.fd for entry in entries]
    entries[0].users = 1
    for entry in entries:
        cache.put(entry)
    assert names(cache) == ["2", "3"]
    assert [is_open(fd) for fd in fds] == [True, False, True, True]
    entries[0].release()
    assert not is_open(fds[0])
    entries[3].users = 1
    assert cache.close_unused()
    assert [is_open(fd) for fd in fds] == [False, False, False, True]
    assert not cache.close_unused()
    entries[3].release()
    assert is_open(fds[3])  # still in the cache
    cache.clear()
    assert not is_open(fds[3])


def test_descriptors_that_nobody_asks_for_are_given_back(tmp_path: Path) -> None:
    cache = FileCache(idle_s=10)
    entry, small = load(tmp_path, 1, SMALL_BYTES + 1), load(tmp_path, 2, 1)
    entry.fresh_until_s = 100
    cache.put(entry)
    cache.put(small)
    cache.sweep(109)
    assert names(cache) == ["1", "2"]
    cache.sweep(111)
    assert names(cache) == ["2"]
    assert entry.fd == -1


def test_putting_an_entry_again_replaces_it(tmp_path: Path) -> None:
    cache = FileCache()
    first = load(tmp_path, 1, SMALL_BYTES + 1)
    cache.put(first)
    cache.put(load(tmp_path, 1, 10))
    assert first.fd == -1
    assert len(cache.entries) == 1


def test_a_file_that_can_not_be_read_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)

    def broken(*args: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(OSError, match="Input/output"):
        FileEntry((1, "f"), b"", b"", is_quick=True).load(fd, b"text/plain", 0)
    assert not is_open(fd)


def test_whoever_can_not_be_told_of_what_was_found_fails_alone() -> None:
    told: list[object] = []

    def breaks(what: str) -> None:
        raise ValueError(what)

    look_up: LookUp[str] = LookUp(0.0)
    look_up.waiting += [(breaks, lambda error: told.append(str(error))), (told.append, told.append)]
    look_up.found("it")
    assert told == ["it", "it"]
    assert not look_up.waiting
