"""How an application's processes are started: environment, temporary folder, limits."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.config.accounts import Identity
from pyserve.config.model import App, Isolation, ResourceLimits
from pyserve.master import isolation
from pyserve.master.isolation import Refused, environment, how_to_start, make_temporary_folder, set_limits

OURS = {
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "LC_TIME": "C",
    "TZ": "UTC",
    "HOME": "/root",
    "USER": "root",
    "TMPDIR": "/root/tmp",
    "PYTHONPATH": "/root/lib",
    "DATABASE_PASSWORD": "secret",
    "NOTIFY_SOCKET": "/run/notify",
    "__PYVENV_LAUNCHER__": "x",
}
OTHER = Identity(os.geteuid() + 1, 7, (7,), "shop", "/home/shop")


def one(**values: object) -> App:
    given = App("x", "m", "app", root="/", python=sys.executable, env=(("KEY", "k"), ("TZ", "CET")))
    return given._replace(isolation=Isolation(**values))  # type: ignore[arg-type]


def test_another_user_gets_nothing_of_our_environment_but_paths_language_and_time() -> None:
    assert environment(one(tmp="/srv/tmp"), OTHER, OURS) == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "TZ": "CET",
        "HOME": "/home/shop",
        "USER": "shop",
        "LOGNAME": "shop",
        "TMPDIR": "/srv/tmp",
        "KEY": "k",
    }
    assert environment(one(), OTHER, {})["PATH"] == "/usr/local/bin:/usr/bin:/bin"


@pytest.mark.parametrize("identity", [None, OTHER._replace(uid=os.geteuid())], ids=["as we are", "another group"])
def test_who_runs_as_we_do_inherits(identity: Identity | None) -> None:
    ours = {name: value for name, value in OURS.items() if name != "__PYVENV_LAUNCHER__"}
    assert environment(one(), identity, OURS) == ours | {"KEY": "k", "TZ": "CET"}


def test_a_user_that_we_may_not_become_is_refused_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(Refused, match="only root can start it as the user 'nobody'") as caught:
        how_to_start(one(user="nobody"))
    assert caught.value.is_final


def test_a_user_that_is_not_there_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="there is no user 'no-such-user'") as caught:
        how_to_start(one(user="no-such-user"))
    assert caught.value.is_final == (os.geteuid() != 0)


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are 0700."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(dir="/tmp")))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_the_temporary_folder_is_made_for_its_user_alone(top: Path) -> None:
    before = os.umask(0)
    try:
        make_temporary_folder(str(top / "tmp"), None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((top / "tmp").stat().st_mode) == 0o700
    (top / "tmp").chmod(0o755)
    make_temporary_folder(str(top / "tmp"), None)
    assert stat.S_IMODE((top / "tmp").stat().st_mode) == 0o755  # what is there stays as it is
    with pytest.raises(Refused, match=f"tmp: can't make {top}/none/tmp: No such file or directory"):
        make_temporary_folder(str(top / "none" / "tmp"), None)


@pytest.mark.needs("root")
def test_the_temporary_folder_belongs_to_the_apps_user_wherever_it_is(top: Path) -> None:
    account = pwd.getpwnam("nobody")
    identity = Identity(account.pw_uid, account.pw_gid, (account.pw_gid,), "nobody")
    own = top / "own"
    own.mkdir()
    os.chown(own, account.pw_uid, account.pw_gid)
    # In its own folder by the user itself, which could swap what we make for a link; elsewhere by us.
    for parent in (top, own):
        make_temporary_folder(str(parent / "tmp"), identity)
        info = (parent / "tmp").stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (account.pw_uid, account.pw_gid, 0o700)
    own.chmod(0o500)
    (own / "tmp").rmdir()
    with pytest.raises(Refused, match="Permission denied"):
        make_temporary_folder(str(own / "tmp"), identity)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    yield child
    child.communicate()


@pytest.mark.needs("linux")
def test_limits_are_set_on_a_child_from_outside(sleeper: subprocess.Popen[bytes]) -> None:
    limited = set_limits(sleeper.pid, ResourceLimits(100, 8 << 30, 60, nice=os.getpriority(os.PRIO_PROCESS, 0) + 1))
    assert limited == ({}, {})
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE) == (100, 100)
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_AS) == (8 << 30, 8 << 30)
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_CPU) == (60, resource.getrlimit(resource.RLIMIT_CPU)[1])
    assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 1


def test_what_we_may_not_set_the_child_is_to_set_itself(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(isolation.resource, "prlimit", forbidden, raising=False)
    monkeypatch.setattr(os, "setpriority", forbidden)
    limited = set_limits(sleeper.pid, ResourceLimits(100, cpu_time_s=60, nice=3))
    assert limited == ({"RLIMIT_NOFILE": 100, "RLIMIT_CPU": 60, "nice": 3}, {})


def test_more_than_we_have_ourselves_is_refused(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation.resource, "getrlimit", lambda kind: (1000, 1000))
    assert set_limits(sleeper.pid, ResourceLimits(5000)) == ({}, {"open_files": "we are allowed 1000 ourselves"})
