"""Promise: each application runs as its own user, in its own interpreter, within its own bounds."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pyserve.config.model import ResourceLimits
from pyserve.master.cgroups import Cgroups, wanted_controllers
from pyserve.master.kernel import identity_of
from tests.support import foreign, tools
from tests.support.certificates import Authority
from tests.support.foreign import Interpreter
from tests.support.site import APPS, Site, StartSite
from tests.support.tls_client import TlsClient, client_context
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
root_only = pytest.mark.needs("root")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with foreign.open_folder() as folder:
        yield folder


@pytest.fixture(params=["two Pythons", "the system's"])
def interpreters(request: pytest.FixtureRequest, open_folder: Path) -> list[Interpreter]:
    if request.param == "the system's":
        return [foreign.system_interpreter()] * 2
    return [foreign.copied_interpreter(name, open_folder / "pythons") for name in ("python3.11", "python3.13")]


def put_app(folder: Path, uid: int = -1, gid: int = -1) -> None:
    """Put the application that tells of itself into a folder, with files that are its user's alone."""
    folder.mkdir(parents=True)
    shutil.copy(APPS / "own_wsgi.py", folder)
    for name, mode in (("private", 0o600), ("shared", 0o640)):
        (folder / name).write_text(f"{name} file of {folder.name}")
        (folder / name).chmod(mode)
        os.chown(folder / name, uid, gid)


def tables(name: str, root: Path, more: str) -> str:
    return f"""
[app.{name}]
entry = "own_wsgi:application"
root = "{root}"
workers = 1
{more}

[site.{name}]
hosts = ["{name}"]
app = "{name}"
"""


def asked(site: Site, path: str, host: str = "shop") -> Any:
    answer = site.get(path, host)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def pyserve(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyserve", *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


@root_only
def test_two_users_two_interpreters_two_versions_of_a_library(
    start_site: StartSite, open_folder: Path, tmp_path: Path, interpreters: list[Interpreter]
) -> None:
    # As in a home of mode 0700: nobody but root can enter where pyserve lies, and where the secret does.
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copytree(ROOT / "pyserve", hidden / "pyserve", ignore=shutil.ignore_patterns("__pycache__"))
    (hidden / "secret").write_text("only for the application\n")
    (hidden / "secret").chmod(0o600)
    text = ""
    accounts = dict(zip(("shop", "blog"), foreign.users(2), strict=True))
    for version, (name, account) in enumerate(accounts.items(), 1):
        put_app(open_folder / name, account.pw_uid, account.pw_gid)
        interpreter = interpreters[version - 1]
        foreign.environment(interpreter, open_folder / name / "venv", {"stock.py": f"VERSION = {version}\n"})
        env = ", ".join(filter(None, [interpreter.env(), f'SECRET = {{ file = "{hidden}/secret" }}']))
        more = f'venv = "venv"\nuser = "{account.pw_name}"\numask = "027"\ntmp = "tmp"\nenv = {{ {env} }}'
        text += tables(name, open_folder / name, more)
    # Whatever is in our environment beside paths and languages is ours.
    ours = {"PYTHONPATH": str(hidden), "OUR_SECRET": "x", "LC_TIME": "C.UTF-8"}
    site = start_site(text, env=ours)
    for version, (name, account) in enumerate(accounts.items(), 1):
        told = asked(site, "/who", name)
        assert (told["user"], told["group"], told["stock"]) == (account.pw_uid, account.pw_gid, version)
        assert told["groups"] == sorted(os.getgrouplist(account.pw_name, account.pw_gid))
        assert (told["umask"], told["folder"]) == (0o27, f"{open_folder}/{name}")
        assert told["tmp"] == f"{open_folder}/{name}/tmp"
        environment = told["environment"]
        assert environment["SECRET"] == "only for the application"
        assert (environment["USER"], environment["HOME"]) == (account.pw_name, account.pw_dir)
        assert environment["LC_TIME"] == "C.UTF-8"
        assert not {"OUR_SECRET", "PYTHONPATH", "PYTHONUNBUFFERED"} & set(environment)
        made = (open_folder / name / "tmp").stat()
        assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (account.pw_uid, 0o700)
        # Its own files it reads; ours and the other's it does not, and our code came without our folder.
        assert told["code"].startswith(str(hidden))
        assert asked(site, f"/reach?path={told['code']}", name) == "PermissionError"
        assert asked(site, f"/reach?path={hidden}/secret", name) == "PermissionError"
        other = next(other for other in accounts if other != name)
        for file in ("private", "shared"):
            assert asked(site, f"/reach?path={open_folder}/{name}/{file}", name) == f"{file} file of {name}"
            assert asked(site, f"/reach?path={open_folder}/{other}/{file}", name) == "PermissionError"
        # The error log is inherited, though only root may open it.
        asked(site, f"/write?words=said-by-{name}", name)
        site.wait_line(f"said-by-{name}")
    # A dead worker of another user is seen and replaced as any other.
    before = site.worker_pids("shop")
    site.expect_error("worker")
    site.kill(before[0])
    wait_until(lambda: set(site.worker_pids("shop")) - set(before), "another worker")
    assert asked(site, "/who")["user"] == accounts["shop"].pw_uid
    checked = pyserve(site.folder, "check", "-c", "site.toml", **ours)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "shop (WSGI" in checked.stdout


@root_only
def test_a_preload_that_is_dropped_starts_afresh_without_our_folder(start_site: StartSite, open_folder: Path) -> None:
    (account,) = foreign.users(1)
    interpreter = foreign.system_interpreter()
    put_app(open_folder / "shop", account.pw_uid, account.pw_gid)
    with open(open_folder / "shop" / "own_wsgi.py", "a") as module:
        module.write("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    more = f'python = "{interpreter.path}"\nuser = "{account.pw_name}"\npreload = true'
    site = start_site(tables("shop", open_folder / "shop", more))
    site.wait_line("preload is off: importing the application left 1 thread")
    assert asked(site, "/who")["user"] == account.pw_uid


@root_only
def test_a_group_alone_changes_the_group_alone(start_site: StartSite, open_folder: Path) -> None:
    put_app(open_folder / "shop")
    site = start_site(tables("shop", open_folder / "shop", 'group = "daemon"'), env={"OUR_SECRET": "x"})
    told = asked(site, "/who")
    assert told["user"] == 0
    assert told["group"] == identity_of("daemon").gid
    assert told["environment"]["OUR_SECRET"] == "x"


@root_only
def test_an_app_whose_user_can_t_reach_its_files_is_not_started_and_the_others_are(
    start_site: StartSite, open_folder: Path
) -> None:
    (account,) = foreign.users(1)
    python = f'python = "{foreign.system_interpreter().path}"\nuser = "{account.pw_name}"'
    put_app(open_folder / "shop")
    put_app(open_folder / "home" / "blog")
    (open_folder / "home").chmod(0o700)
    text = tables("shop", open_folder / "shop", python) + tables("blog", open_folder / "home" / "blog", python)
    site = start_site(text)
    site.expect_error("app blog")
    why = f"the user '{account.pw_name}' can't enter {open_folder}/home (on the way to {open_folder}/home/blog)"
    assert f"app blog: FAILED: {why}" in site.wait_line("^pyserve: ready")
    assert site.get("/who", "blog").status == 503
    assert site.status()["sites"]["blog"]["reason"].endswith(why)
    assert asked(site, "/who")["user"] == account.pw_uid
    checked = pyserve(site.folder, "check", "-c", "site.toml")
    assert checked.returncode == 78
    assert f"app.blog.user: {why}" in checked.stderr
    # It is tried again, and starts when the folder is opened.
    (open_folder / "home").chmod(0o711)
    wait_until(lambda: site.get("/who", "blog").status == 200, "the app starts", 30)


@root_only
def test_check_says_which_apps_run_as_the_server_does_once_some_have_users(open_folder: Path) -> None:
    put_app(open_folder / "shop")
    (account,) = foreign.users(1)
    python = f'python = "{foreign.system_interpreter().path}"\n'
    named = tables("shop", open_folder / "shop", f'{python}user = "{account.pw_name}"')
    (open_folder / "site.toml").write_text(named)
    assert pyserve(open_folder, "check").stderr == ""
    (open_folder / "site.toml").write_text(named + tables("blog", open_folder / "shop", ""))
    said = "note: the app blog runs as the same user as the master and is not isolated from the server\n"
    assert pyserve(open_folder, "check").stderr == said


def test_without_root_an_app_of_another_user_is_never_started_as_us(start_site: StartSite, open_folder: Path) -> None:
    under: list[str] = []
    put_app(open_folder / "shop")
    if os.geteuid() == 0:
        # Root that may not change users any more is as good as no root.
        under = ["setpriv", "--bounding-set=-setuid,-setgid", "--"]
        if tools.find("setpriv") is None:
            tools.not_run("no setpriv here, to take root's capabilities away", installable=False)
    (account,) = [account for account in foreign.users(2) if account.pw_uid != os.geteuid()][:1]
    more = f'python = "{foreign.system_interpreter().path}"\nuser = "{account.pw_name}"'
    site = start_site(tables("shop", open_folder / "shop", more), under=under)
    site.expect_error("app shop")
    line = site.wait_line("^pyserve: ready")
    assert f"only root can start it as the user '{account.pw_name}'" in line or "not allowed to become the user" in line
    assert site.get("/who", "shop").status == 503


LIMITS = 'limits = { open_files = 100, address_space = "1GiB", cpu_time = "1s", nice = 3 }'


@pytest.mark.parametrize("user", [pytest.param(True, marks=root_only, id="another user"), pytest.param(False, id="us")])
def test_limits_of_a_process_are_in_force(start_site: StartSite, open_folder: Path, user: bool) -> None:
    more = LIMITS
    put_app(open_folder / "shop")
    if user:
        more += f'\nuser = "{foreign.users(1)[0].pw_name}"\npython = "{foreign.system_interpreter().path}"'
    site = start_site(tables("shop", open_folder / "shop", more))
    told = asked(site, "/who")
    assert (told["open_files"], told["address_space"]) == ([100, 100], [1 << 30, 1 << 30])
    assert (told["cpu_time"], told["nice"]) == (1, 3)
    (pid,) = site.worker_pids("shop")
    assert asked(site, "/open?count=200") == "Too many open files"
    # What it asks for is not there: that is the one request's trouble.
    site.expect_error("500 GET /hoard")
    assert site.get(f"/hoard?bytes={2 << 30}", "shop").status == 500
    assert asked(site, "/hoard?bytes=1000") == 1000
    assert asked(site, "/pid") == pid
    # The CPU time of one worker ends that worker, and the log says by what.
    site.tolerate_error("worker|502")
    assert site.post("/spin", b"not to be tried again", "shop").status in (502, 504)
    site.wait_line(rf"worker .* \(pid {pid}\) killed by signal 24 \(SIGXCPU\)")
    assert site.get("/pid", "shop").status == 200


def group_of(pid: int, controller: str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") or not names:
            found = path
            if names:
                break
    return found


@pytest.fixture
def controllers() -> set[str]:
    """What of ``limits`` this machine lets us bound by cgroups: found out by doing it."""
    limits = ResourceLimits(memory_bytes=1 << 30, cpus=1.0, processes=1000)
    made = Cgroups(wanted_controllers(limits))
    refused = made.make("trial", limits).refused
    made.close()
    if len(refused) == 3:
        tools.not_run(f"no cgroups here: {refused}", installable=False)
    return {"memory", "cpus", "processes"} - set(refused)


def test_cgroups_bound_an_application_and_are_gone_afterwards(
    start_site: StartSite, open_folder: Path, controllers: set[str]
) -> None:
    put_app(open_folder / "shop")
    wanted = {"memory": '"128MiB"', "cpus": "0.5", "processes": "50"}
    limits = ", ".join(f"{key} = {value}" for key, value in wanted.items())
    site = start_site(tables("shop", open_folder / "shop", f"limits = {{ {limits} }}"))
    (pid,) = site.worker_pids("shop")
    names = {"memory": "memory", "cpus": "cpu", "processes": "pids"}
    groups = [group_of(pid, names[key]) for key in controllers]
    name = f"pyserve-{site.master_pid}-1-shop"
    assert all(group.endswith(f"/{name}") for group in groups)
    if missing := set(wanted) - controllers:
        line = site.wait_line("app shop: limits that are not in force")
        assert all(f"{key} (" in line for key in missing)
    if "memory" in controllers:
        site.tolerate_error("worker|502")
        assert site.get(f"/hoard?bytes={512 << 20}", "shop").status == 502
        site.wait_line(rf"worker .* \(pid {pid}\) killed by signal 9")
        assert site.get("/pid", "shop").status == 200
    assert site.stop() == 0
    assert not list(Path("/sys/fs/cgroup").rglob(name))


@root_only
def test_fronts_that_could_not_drop_to_their_user_say_which_folder_is_in_the_way(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copytree(ROOT / "pyserve", hidden / "pyserve", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "site.toml").write_text(
        '[server]\nhttp = "127.0.0.1:0"\nadmin = "unix:run/a.sock"\nuser = "nobody"\n'
        "[site.a]\ndefault = true\nrespond = { status = 200 }\n"
    )
    started = pyserve(tmp_path, "-c", "site.toml", PYTHONPATH=str(hidden))
    assert started.returncode == 70
    assert "fronts can't drop to it: the user 'nobody' can't enter /" in started.stderr
    # On some machines the interpreter itself is out of reach, and named first.
    hints = ("install pyserve where that user can read it", "make the environment with one that the user can reach")
    assert any(hint in started.stderr for hint in hints)
    checked = pyserve(tmp_path, "check", "-c", "site.toml", PYTHONPATH=str(hidden))
    assert checked.returncode == 78
    assert "site.toml:4: server.user: fronts can't drop to it: the user 'nobody' can't enter /" in checked.stderr


@root_only
def test_fronts_drop_to_their_user_and_serve(start_site: StartSite, open_folder: Path) -> None:
    (account,) = foreign.users(1)
    own = foreign.copied_interpreter(f"python3.{sys.version_info.minor}", open_folder)
    packages = open_folder / "packages"
    shutil.copytree(ROOT / "pyserve", packages / "pyserve", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("uvloop", "httptools", "h11", "setproctitle", "cryptography", "_cffi_backend"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        if spec.submodule_search_locations is None:
            shutil.copy(spec.origin, packages)
        else:
            shutil.copytree(Path(spec.origin).parent, packages / name)
    # The command's own interpreter gives way to the copy.
    under = ["sh", "-c", f'shift; exec {own.path} "$@"', "sh"]
    put_app(open_folder / "shop")
    authority = Authority()
    authority.write(open_folder, "files", "files")
    os.chmod(open_folder / "files.key", 0o600)  # for root alone
    tls = f'tls = {{ cert = "{open_folder}/files.pem", key = "{open_folder}/files.key", redirect = false }}'
    files = f'[site.files]\nhosts = ["files"]\nfiles = "{open_folder}/shop"\n{tls}\n'
    site = start_site(
        tables("shop", open_folder / "shop", "") + files,
        server=f'user = "{account.pw_name}"\nhttps = "127.0.0.1:0"',
        under=under,
        env={"PYTHONPATH": str(packages), "LD_LIBRARY_PATH": own.libraries},
    )
    assert asked(site, "/who")["user"] == 0
    for pid in site.front_pids():
        status = Path(f"/proc/{pid}/status").read_text()
        for kind, number in (("Uid", account.pw_uid), ("Gid", account.pw_gid)):
            assert f"{kind}:" + f"\t{number}" * 4 + "\n" in status
        # Not even a process of the same user may look into it: such files are root's then.
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    assert site.get("/own_wsgi.py", "files").body == (APPS / "own_wsgi.py").read_bytes()
    assert site.get("/private", "files").status in (403, 404)
    with TlsClient(site.https, client_context(authority.pem), "files") as client:
        assert client.get("/own_wsgi.py", "files").status == 200
