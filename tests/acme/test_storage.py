"""The folder of accounts, keys and certificates: modes, whole files, what is swept up."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from pyserve.acme.storage import LEFT_OVER_S, Storage
from pyserve.errors import CannotStart


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        storage = Storage(str(tmp_path / "deep" / "st"))
        storage.prepare()
        storage.write(f"{storage.folder}/certificates/a.com.pem", b"secret")
    finally:
        os.umask(before)
    folder = Path(storage.folder)
    assert {mode(path) for path in [folder, *folder.rglob("*")] if path.is_dir()} == {0o700}
    assert mode(folder / "certificates/a.com.pem") == 0o600


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "st").mkdir(mode=0o755)
    Storage(str(tmp_path / "st")).prepare()
    assert mode(tmp_path / "st") == 0o700


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write(f"{tmp_path}/a", b"old")
    with open(tmp_path / "a", "rb") as reader:
        storage.write(f"{tmp_path}/a", b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        storage.write(f"{tmp_path}/a", b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_answers_of_processes_that_died_are_swept_up_and_certificates_are_not(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.prepare()
    names = ("challenges/old", "challenges/alpn/old.pem", "certificates/a.com.pem", "certificates/.a.com.pem.1-2")
    for name in (*names, "challenges/new"):
        (tmp_path / name).write_bytes(b"x")
    for name in names:
        os.utime(tmp_path / name, (0, time.time() - LEFT_OVER_S - 60))
    Storage(str(tmp_path)).prepare()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"challenges/new", "certificates/a.com.pem"}


def test_what_somebody_has_deleted_is_made_again(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "st"))
    storage.prepare()
    (tmp_path / "st/locks").rmdir()
    storage.prepare()
    assert (tmp_path / "st/locks").is_dir()


def test_a_folder_that_cannot_be_made_is_said_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "st").write_text("a file")
    with pytest.raises(CannotStart, match=rf"^the storage of certificates {tmp_path}/st: (Not a|File ex)"):
        Storage(str(tmp_path / "st")).prepare()
    with pytest.raises(CannotStart, match=rf"^the storage of certificates {tmp_path}/st/a/b: {tmp_path}/st/a: Not a"):
        Storage(str(tmp_path / "st/a/b")).prepare()
