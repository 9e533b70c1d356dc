"""Whom an application's processes become, and what is in their way."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.config.accounts import (
    ENTER,
    READ,
    WRITE,
    CannotBecome,
    Identity,
    barrier,
    become,
    faults,
    may_change,
)
from pyserve.config.load import read
from pyserve.config.model import App, Isolation
from pyserve.master.child import out_of_reach

STRANGER = Identity(54321, 54321, (54321,), "stranger", "/home/stranger")
OWN = pwd.getpwuid(os.geteuid()).pw_name
root_only = pytest.mark.needs("root")


def test_nobody_changes_without_a_name_or_into_oneself() -> None:
    assert become(Isolation()) is None
    assert become(Isolation(user=OWN)) is None


@pytest.mark.parametrize("isolation", [Isolation(user="no-such-user"), Isolation(group="no-such-group")])
def test_an_unknown_name_is_told_with_its_key(isolation: Isolation) -> None:
    with pytest.raises(CannotBecome, match=r"there is no .* 'no-such-.*' on this machine") as caught:
        become(isolation)
    assert caught.value.key == ("user" if isolation.user else "group")


def test_without_root_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(CannotBecome, match="only root can start it as the user 'nobody'"):
        become(Isolation(user="nobody"))


def test_an_interpreter_behind_a_virtual_environment_is_told_from_the_environment(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tree(top)
    (top / "env/bin").mkdir(parents=True)
    (top / "env/bin/python3").symlink_to(interpreter)
    monkeypatch.setattr(sys, "executable", f"{top}/env/bin/python3")
    monkeypatch.setattr(sys, "prefix", f"{top}/env")
    monkeypatch.setattr(sys, "base_prefix", f"{top}/a")
    (top / "a").chmod(0o700)
    assert out_of_reach(STRANGER) == (
        f"fronts can't drop to it: the user 'stranger' can't enter {top}/a (on the way to {top}/env/bin/python3, a "
        f"link to {interpreter}): that is the interpreter behind the virtual environment {top}/env; make the "
        "environment with one that the user can reach, as /usr/bin/python3"
    )
    (top / "env").chmod(0o700)
    assert out_of_reach(STRANGER).endswith(
        f"can't enter {top}/env (on the way to {top}/env/bin/python3); install pyserve where that user can read it, "
        "as in /opt"
    )


@root_only
def test_root_becomes_a_user_with_its_own_group_or_another() -> None:
    account = pwd.getpwnam("nobody")
    identity = become(Isolation(user="nobody"))
    assert identity is not None
    assert (identity.uid, identity.gid, identity.name) == (account.pw_uid, account.pw_gid, "nobody")
    other = become(Isolation(user="nobody", group="daemon"))
    assert other is not None
    assert other.uid == account.pw_uid
    assert other.gid in other.groups
    assert other.gid != account.pw_gid
    only_group = become(Isolation(group="daemon"))
    assert only_group is not None
    assert (only_group.uid, only_group.gid) == (0, other.gid)


def tree(top: Path) -> Path:
    """Return ``top/a/b/file``; everything as open as can be."""
    inner = top / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    for path in (top, top / "a", inner):
        path.chmod(0o755)
    (inner / "file").chmod(0o644)
    return inner / "file"


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are 0700."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(dir="/tmp")))
    yield folder
    shutil.rmtree(folder)


def test_the_first_folder_in_the_way_is_named(top: Path) -> None:
    file = tree(top)
    assert barrier(str(file), STRANGER, READ) == ""
    (top / "a").chmod(0o700)
    assert barrier(str(file), STRANGER, READ) == f"the user 'stranger' can't enter {top}/a (on the way to {file})"
    assert barrier(f"{top}/a/../a/b", STRANGER, ENTER).startswith(f"the user 'stranger' can't enter {top}/a")
    # Owners and members of the group have bits of their own.
    assert barrier(str(file), STRANGER._replace(uid=os.geteuid()), READ) == ""
    (top / "a").chmod(0o710)
    assert barrier(str(file), STRANGER._replace(groups=((top / "a").stat().st_gid,)), READ) == ""


def test_links_are_followed_and_what_is_missing_is_in_nobodys_way(top: Path) -> None:
    file = tree(top)
    (top / "link").symlink_to("a/b/file")
    (top / "far").symlink_to(str(top / "link"))
    file.chmod(0o600)
    assert barrier(str(top / "far"), STRANGER, READ) == f"the user 'stranger' can't read {file}"
    assert barrier(str(top / "far"), STRANGER, ENTER) == f"the user 'stranger' can't execute {file}"
    assert barrier(str(top / "none" / "x"), STRANGER, READ) == ""
    file.parent.chmod(0o700)
    assert barrier(str(top / "far"), STRANGER, READ) == (
        f"the user 'stranger' can't enter {file.parent} (on the way to {top}/far, a link to {file})"
    )
    (top / "loop").symlink_to("loop")
    assert barrier(str(top / "loop"), STRANGER, READ) == ""


def test_who_may_write_above_a_folder_may_change_it(top: Path) -> None:
    file = tree(top)
    assert not may_change(str(file.parent), STRANGER)
    (top / "a").chmod(0o777)
    assert may_change(str(file.parent), STRANGER)
    (top / "a").chmod(0o1777)
    assert not may_change(str(file.parent), STRANGER)
    assert barrier(str(file.parent), STRANGER, WRITE | ENTER) == f"the user 'stranger' can't write to {file.parent}"


@root_only
def test_an_app_is_told_all_that_is_in_its_way(top: Path) -> None:
    file = tree(top)
    (top / "a").chmod(0o700)
    isolation = Isolation(user="nobody", tmp=str(top / "none" / "tmp"))
    app = App("x", "m", "app", root=str(file.parent), python=str(top / "a" / "python"), isolation=isolation)
    assert faults(app) == [
        ("user", f"the user 'nobody' can't enter {top}/a (on the way to {file.parent})"),
        ("tmp", f"no such folder: {top}/none"),
    ]


def test_the_faults_of_an_app_are_problems_of_its_surroundings(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        '[site.a]\ndefault = true\napp = "x"\n[app.x]\nentry = "m:app"\n'
        'user = "no-such-user"\n[app.y]\nentry = "m:app"\ntmp = "none/tmp"\n'
    )
    loaded = read([str(tmp_path / "site.toml")])
    assert not loaded.form
    assert [(problem.line, problem.key, problem.message) for problem in loaded.problems] == [
        (6, "app.x.user", "there is no user 'no-such-user' on this machine"),
        (9, "app.y.tmp", f"no such folder: {tmp_path}/none"),
    ]
