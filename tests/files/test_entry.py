"""What an entry is made of: bytes and validators of one moment, and a descriptor that is closed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyserve.files import entry as entry_module
from pyserve.files.entry import SMALL_BYTES, FileEntry, is_settled, signature_of
from tests.support.served import open_descriptors

LATE_NS = 4_000_000_000_000_000_000


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


def load(path: Path, *, coding: bytes = b"", in_memory: bool = False) -> FileEntry:
    entry = FileEntry((1, "file"), b"file", os.fsencode(path), is_quick=True)
    entry.load(os.open(path, os.O_RDONLY), b"text/plain", LATE_NS, coding=coding, in_memory=in_memory)
    entry.close()
    return entry


def during_reads(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None]) -> None:
    """Do something to the file between any read and the look at what it was read from."""
    real = os.pread
    reads = 0

    def pread(fd: int, count: int, offset: int) -> bytes:
        nonlocal reads
        data = real(fd, count, offset)
        reads += 1
        change(reads)
        return data

    monkeypatch.setattr(os, "pread", pread)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1])
def test_small_content_is_kept_and_large_content_is_sent_from_its_descriptor(
    path: Path, size: int, in_memory: bool
) -> None:
    path.write_bytes(b"x" * size)
    entry = load(path, in_memory=in_memory)
    assert entry.size == size
    assert entry.body == (b"x" * size if size <= SMALL_BYTES else None)


def test_content_that_changes_while_it_is_read_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during_reads(monkeypatch, lambda reads: path.write_bytes(b"second") and None if reads == 1 else None)
    entry = load(path)
    assert entry.body == b"second"
    assert entry.signature == signature_of(path.stat())


def test_content_that_never_stands_still_is_never_taken_for_what_it_is_in_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_reads(monkeypatch, lambda reads: path.write_bytes(b"%d " % reads * reads) and None)
    entry = load(path)
    assert entry.body is not None
    assert entry.size == len(entry.body)
    assert entry.signature != signature_of(path.stat())


def test_a_file_that_grows_large_while_it_is_read_is_sent_from_its_descriptor(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(reads: int) -> None:
        path.write_bytes(b"x" * (SMALL_BYTES + 10))
        os.utime(path, (1, 1))  # as a copy with the times of its original

    during_reads(monkeypatch, grow)
    entry = load(path)
    assert (entry.body, entry.size) == (None, SMALL_BYTES + 10)
    assert entry.signature == signature_of(path.stat())


def test_a_file_that_shrinks_while_it_is_read_is_what_it_has_become(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_reads(monkeypatch, lambda reads: os.truncate(path, 2))
    entry = load(path)
    assert (entry.body, entry.size) == (b"fi", 2)


def test_a_file_without_a_true_size_is_what_can_be_read_of_it() -> None:
    entry = load(Path("/proc/sys/kernel/ostype"))
    assert entry.body is not None
    assert entry.size == len(entry.body)


def test_content_that_is_not_in_memory_leaves_no_descriptor(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(*arguments: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", not_there)
    with pytest.raises(BlockingIOError):
        load(path, in_memory=True)
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset, flags: 2)  # only some of it is there
    with pytest.raises(BlockingIOError):
        load(path, in_memory=True)


def test_where_the_system_can_not_tell_what_is_in_memory_nothing_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_module, "_NO_WAIT", 0)
    with pytest.raises(BlockingIOError):
        load(path, in_memory=True)
    path.write_bytes(b"")
    assert load(path, in_memory=True).body == b""


def test_a_disk_in_memory_needs_no_such_question(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_supported(*arguments: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "preadv", not_supported)
    assert load(path, in_memory=True).body == b"first"


def test_every_coding_has_a_tag_of_its_own(path: Path) -> None:
    tags = {load(path, coding=coding).etag for coding in (b"", b"gzip", b"br", b"zstd")}
    assert len(tags) == 4
    for tag in tags:
        assert tag.startswith(b'"')
        assert tag.endswith(b'"')


def test_times_before_1970_are_no_trouble(path: Path) -> None:
    os.utime(path, ns=(0, -1_500_000_000))
    entry = load(path)
    entry.write_heads(b"")
    assert b"last-modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in entry.block
    assert entry.etag == b'"0-5"'


def test_a_change_just_now_is_not_settled(path: Path) -> None:
    status = path.stat()
    assert not is_settled(status, status.st_mtime_ns + 2_000_000_000)
    assert is_settled(status, status.st_mtime_ns + 2_000_000_001)
    assert not is_settled(status, 0)  # it comes from the future


def test_a_descriptor_is_closed_once_when_the_last_user_lets_go(path: Path) -> None:
    path.write_bytes(b"x" * (SMALL_BYTES + 1))
    entry = FileEntry((1, "file"), b"file", os.fsencode(path), is_quick=True)
    entry.load(os.open(path, os.O_RDONLY), b"text/plain", LATE_NS)
    entry.retain()
    entry.retain()
    entry.is_evicted = True
    entry.release()
    assert entry.fd >= 0
    entry.release()
    assert entry.fd == -1
    entry.close()
