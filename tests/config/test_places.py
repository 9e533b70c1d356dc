"""Where the admin socket and the spool folder are if the file does not say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyserve.config import places
from pyserve.config.model import Listener

MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sda1 /tmp/disk ext4 rw 0 0
/dev/sdb1 /a\\040b xfs rw 0 0
broken
""".splitlines()


@pytest.mark.parametrize(
    ("folder", "kind"),
    {
        "/": "overlay",
        "/tmp": "tmpfs",
        "/tmp/x/y": "tmpfs",
        "/tmp/disk/x": "ext4",
        "/tmpx": "overlay",
        "/a b/c": "xfs",
    }.items(),
)
def test_a_folder_is_of_the_innermost_mount(folder: str, kind: str) -> None:
    assert places.mount_type(folder, MOUNTS) == kind


def test_of_two_mounts_on_one_point_the_last_counts() -> None:
    assert places.mount_type("/tmp", [*MOUNTS, "x /tmp ext4 rw 0 0"]) == "ext4"


def test_a_folder_that_can_be_made_is_told_from_one_that_can_not(tmp_path: Path) -> None:
    assert places.why_not_made(str(tmp_path / "a" / "b")) == places.why_not_made(str(tmp_path)) == ""
    (tmp_path / "file").touch()
    reason = f"{tmp_path}/file is not a folder"
    assert places.why_not_made(f"{tmp_path}/file") == f"{reason}; name another folder"
    assert places.why_not_made(f"{tmp_path}/file/a/b") == (
        f"{tmp_path}/file/a/b can't be made: {reason}; name another one"
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_root_is_not_fooled_by_folders_that_keep_no_files() -> None:
    assert places.why_not_made("/proc/x") == ("/proc/x can't be made: no files can be kept in /proc; name another one")


def test_systemds_folder_comes_first_then_the_users_then_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("systemd", "user", "tmp"):
        Path("/tmp", f"pyserve-test-{os.getpid()}-{name}").mkdir()
    systemd, user, temporary = (f"/tmp/pyserve-test-{os.getpid()}-{name}" for name in ("systemd", "user", "tmp"))
    try:
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"{systemd}:/other")
        monkeypatch.setenv("XDG_RUNTIME_DIR", user)
        monkeypatch.setenv("TMPDIR", temporary)
        assert places.admin_socket("x") == f"{systemd}/admin/x.sock"
        monkeypatch.delenv("RUNTIME_DIRECTORY")
        assert places.admin_socket("x") == f"{user}/pyserve/x.sock"
        monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
        assert places.admin_socket("x") == f"{temporary}/pyserve-{os.getuid()}/x.sock"
        monkeypatch.setenv("TMPDIR", f"/tmp/{'x' * 100}")
        assert places.admin_socket("x") == f"/tmp/pyserve-{os.getuid()}/x.sock"
    finally:
        for folder in (systemd, user, temporary):
            os.rmdir(folder)


def test_a_folder_too_deep_for_a_socket_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setenv("TMPDIR", str(deep))
    assert places.admin_socket("x") == f"/tmp/pyserve-{os.getuid()}/x.sock"


def test_a_server_is_named_after_the_real_path_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a site!.toml").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a site!.toml")
    (tmp_path / "b").mkdir()
    name = places.server_name([str(tmp_path / "a site!.toml")])
    assert name.startswith("asite-")
    assert places.server_name([str(tmp_path / "b" / ".." / "a site!.toml")]) == name
    assert places.server_name([str(tmp_path / "link")]).partition("-")[2] == name.partition("-")[2]
    assert places.server_name([str(tmp_path / "b" / "a site!.toml")]) != name


def test_without_a_file_a_server_is_named_after_its_port() -> None:
    assert places.server_name((), [Listener("127.0.0.1", 8080)]) == "port-8080"
    assert places.server_name(()) == "port-8000"
    two = {places.server_name((), [Listener("", 0)]) for _ in range(2)}
    assert len(two) == 2
