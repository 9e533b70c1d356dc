"""Which disks are believed to answer by themselves: what the kernel says, and what it does not."""

from __future__ import annotations

import builtins
import io
import os
from pathlib import Path
from typing import Any

import pytest

from pyserve.files import disks


def says(monkeypatch: pytest.MonkeyPatch, info: bytes, mounts: bytes) -> None:
    def opened(path: str, mode: str) -> io.BytesIO:
        assert mode == "rb"
        if path == "/proc/self/mountinfo":
            return io.BytesIO(mounts)
        assert path == "/proc/self/fdinfo/7"
        return io.BytesIO(info)

    monkeypatch.setattr(builtins, "open", opened)


def line(number: int, kind: bytes, optional: bytes = b"shared:1 ") -> bytes:
    return b"%d 25 0:22 / /srv/a\\040folder rw,relatime %b- %b server:/x rw\n" % (number, optional, kind)


@pytest.mark.parametrize(
    ("kind", "is_local"),
    [
        *((kind, True) for kind in (b"ext4", b"xfs", b"btrfs", b"tmpfs", b"overlay", b"zfs")),
        *((kind, False) for kind in (b"nfs", b"nfs4", b"cifs", b"fuse.sshfs", b"fuse", b"9p", b"ceph", b"autofs")),
    ],
)
@pytest.mark.parametrize("optional", [b"", b"shared:1 ", b"shared:1 master:2 "])
def test_only_disks_of_this_machine_are_local(
    monkeypatch: pytest.MonkeyPatch, kind: bytes, is_local: bool, optional: bytes
) -> None:
    mounts = line(30, b"nfs" if is_local else b"ext4") + line(31, kind, optional) + line(311, b"proc")
    says(monkeypatch, b"pos:\t0\nflags:\t02000000\nmnt_id:\t31\nino:\t5\n", mounts)
    assert disks.is_local(7) is is_local


@pytest.mark.parametrize(
    ("info", "mounts"),
    [
        (b"", line(31, b"ext4")),
        (b"pos:\t0\n", line(31, b"ext4")),
        (b"mnt_id:\n", line(31, b"ext4")),
        (b"mnt_id:\t31\n", b""),
        (b"mnt_id:\t31\n", line(30, b"ext4")),
        (b"mnt_id:\t31\n", b"31 25 0:22 / / rw\n"),
        (b"mnt_id:\t31\n", b"31 25 0:22 / / rw -\n"),
        (b"mnt_id:\t31\n", b"\n31 - ext4\n"),
    ],
)
def test_what_is_not_said_is_not_local(monkeypatch: pytest.MonkeyPatch, info: bytes, mounts: bytes) -> None:
    says(monkeypatch, info, mounts)
    assert disks.is_local(7) is False


def test_without_proc_nothing_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> io.BytesIO:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", missing)
    assert disks.is_local(0) is False


def test_the_kernel_is_understood(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/mountinfo"):
        pytest.skip("no /proc here")
    with open("/proc/self/status", "rb") as status:
        assert disks.is_local(status.fileno()) is False  # procfs
    fd = os.open(tmp_path, getattr(os, "O_PATH", os.O_RDONLY))
    try:
        disks.is_local(fd)  # whatever it is, no error
    finally:
        os.close(fd)
    assert disks.is_local(fd) is False


def test_who_asks_often_is_told_what_was_found_lately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        asked: list[int] = []
        now_s = [100.0]
        monkeypatch.setattr(disks, "_known", {})
        monkeypatch.setattr(disks, "is_local", lambda fd: not asked.append(fd))
        monkeypatch.setattr(disks.time, "monotonic", lambda: now_s[0])
        for now_s[0] in (100.0, 109.0, 111.0, 112.0):
            assert disks.was_local(fd)
        assert len(asked) == 2
    finally:
        os.close(fd)
