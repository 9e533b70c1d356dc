"""Promise: ``check`` finds every problem and says where, ``status`` tells what runs, exit codes are of sysexits.h."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import trial
from tests.support.site import APPS, Site, StartSite

BAD = """\
[server]
htpp = "127.0.0.1:0"
fronts = "many"

[app.shop]
entry = "no-colon"

[site.shop]
hosts = ["shop.test"]
app = "shopp"

[[site.shop.route]]
path = "/x"
files = "public"
respond = { body = "x" }

[site.twin]
hosts = ["shop.test"]
respond = { body = "x" }
"""


def pyserve(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyserve", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("command", [["check"], ["run"], []], ids=["check", "run", "bare"])
def test_a_bad_config_is_refused_with_every_problem_at_once(tmp_path: Path, command: list[str]) -> None:
    config = tmp_path / "site.toml"
    config.write_text(BAD)
    answer = pyserve(*command, "-c", config)
    assert answer.returncode == 78
    problems = answer.stderr + answer.stdout
    for line, key in [
        (2, "server.htpp"),
        (3, "server.fronts"),
        (6, "app.shop.entry"),
        (10, "site.shop.app"),
        (18, "site.twin.hosts"),
    ]:
        assert re.search(rf"site\.toml:{line}: {re.escape(key)}", problems), (line, key, problems)
    assert "route[" in problems
    assert "http" in next(line for line in problems.splitlines() if "htpp" in line).split("htpp", 1)[1]
    assert "Traceback" not in problems


def test_check_accepts_a_good_config(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text(trial.both().replace("APPS", str(APPS)))
    answer = pyserve("check", "-c", config)
    assert answer.returncode == 0, answer.stderr


def test_check_imports_the_applications(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text(
        f'[app.sick]\nentry = "broken:application"\nroot = "{APPS}"\n[site.a]\nhosts = ["a"]\napp = "sick"\n'
    )
    answer = pyserve("check", "-c", config)
    assert answer.returncode == 78
    assert "broken on purpose" in answer.stderr + answer.stdout


def test_a_folder_that_is_missing_fails_check_and_not_run(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi") + '[site.files]\nhosts = ["files"]\nfiles = "nowhere"\n')
    site.tolerate_error("nowhere")
    assert pyserve("check", "-c", site.config).returncode == 78
    assert site.get("/hello").status == 200
    assert site.get("/x", "files").status in (404, 503)


def test_status_tells_what_runs(start_site: StartSite) -> None:
    site = start_site(trial.both())
    answer = pyserve("status", "--json", "-c", site.config)
    assert answer.returncode == 0, answer.stderr
    status = json.loads(answer.stdout)
    assert status["master"]["pid"] == site.child.pid
    assert [set(front) >= {"pid", "connections"} for front in status["fronts"]] == [True]
    worker = status["apps"]["wsgi"]["workers"][0]
    assert set(worker) >= {"pid", "state", "running", "requests", "memory_bytes"}
    assert worker["state"] == "idle"
    assert status["sites"]["a"]["state"] == "serving"
    alive = {process.pid for process in site.observe()}
    assert {worker["pid"], status["fronts"][0]["pid"]} <= alive

    for_people = pyserve("status", "-c", site.config)
    assert for_people.returncode == 0
    assert "wsgi" in for_people.stdout
    by_socket = pyserve("status", "--json", "--admin", site.folder / "run/admin.sock")
    assert json.loads(by_socket.stdout)["master"]["pid"] == site.child.pid
    by_folder = pyserve("status", "--json", cwd=site.folder)
    assert json.loads(by_folder.stdout)["master"]["pid"] == site.child.pid


def test_requests_are_counted(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    for _ in range(7):
        site.get("/hello")
    assert site.workers("wsgi")[0]["requests"] == 7


def test_process_titles_tell_what_each_process_is(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    titles = {process.pid: process.title for process in site.observe()}
    assert "front" in titles[site.front_pids()[0]]
    assert re.search("worker.*wsgi", titles[site.worker_pids("wsgi")[0]])
    rest = [
        t for pid, t in titles.items() if pid not in [*site.front_pids(), *site.worker_pids("wsgi"), site.child.pid]
    ]
    assert len(rest) == 1
    assert re.search("template.*wsgi", rest[0])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["no-such-command"], 64),
        (["run", "--no-such-option"], 64),
        (["status", "--admin", "/nowhere/admin.sock"], 69),
        (["stop", "--admin", "/nowhere/admin.sock"], 69),
        (["check", "-c", "/nowhere/site.toml"], 78),
        (["--version"], 0),
        (["--help"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_codes(words: list[str], code: int) -> None:
    answer = pyserve(*words)
    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr


class Quick(Site):
    """``pyserve run`` without a file: the same watching, another command line."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._words = list(words)
        super().__init__(folder, "")

    def command(self) -> list[str]:
        return [sys.executable, "-m", "pyserve", "run", *self._words, "--listen", "127.0.0.1:0"]


@pytest.mark.parametrize("entry", ["trial_wsgi:application", "trial_asgi:application"])
def test_one_application_runs_without_a_file(tmp_path: Path, entry: str) -> None:
    for path in (APPS / "pattern.py", APPS / f"{entry.split(':')[0]}.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    site = Quick(tmp_path, entry, "--workers", "1")
    try:
        site.wait_ready()
        assert site.get("/hello", "any.host").status == 200
        assert site.stop() == 0
    finally:
        site.end_by_force()


def test_one_folder_is_served_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public/index.html").write_text("<h1>here</h1>")
    site = Quick(tmp_path, "./public")
    try:
        site.wait_ready()
        assert site.get("/", "any.host").text == "<h1>here</h1>"
        assert site.stop() == 0
    finally:
        site.end_by_force()
