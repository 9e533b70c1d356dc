"""The commands as processes: what they print, and their exit codes. No server is started here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyserve.cli.arguments import UsageError, parse
from tests.support.certificates import Authority

WSGI = "def app(environ, start_response):\n    return []\n"
ASGI = "async def app(scope, receive, send):\n    pass\n"
HEAD = "[site.a]\ndefault = true\n"


def pyserve(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyserve", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "COLUMNS": "120", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


USAGE: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "pyserve -c site.toml"),
    "unknown command": (["stauts"], "did you mean status?"),
    "unknown option": (["run", "--frob"], "unrecognized arguments: --frob"),
    "a file without -c": (["site.toml"], "write: pyserve -c site.toml"),
    "an app without run": (["shop:app"], "write: pyserve run shop:app"),
    "a later command": (["reload"], "reload: not yet"),
    "a number of workers below none": (["scale", "shop", "-4"], "expected"),
    "an id that is none": (["top", "--stack", "12"], "expected an id as the table shows it"),
    "run a file without -c": (["run", "site.toml"], "write: pyserve run -c site.toml"),
    "file and target": (["run", "-c", "site.toml", "shop:app"], "not both"),
    "options first": (["-c", "site.toml", "check"], "pyserve check -c site.toml"),
    "listen with a file": (["run", "-c", "site.toml", "--listen", ":80"], "[server] http"),
    "workers is no number": (["run", "shop:app", "--workers", "x"], "invalid int value"),
    "no attribute": (["run", "shop"], "as shop:app"),
    "no such folder": (["run", "./shop"], "there is no folder './shop'"),
    "workers for a folder": (["run", ".", "--workers", "2"], "a folder of files needs none"),
    "reload for a folder": (["run", ".", "--reload"], "--reload goes with applications"),
    "what to reload without it": (["run", "a:b", "--reload-include", "*.toml"], "goes with --reload"),
    "no file": (["run"], "there is no ./site.toml"),
    "no file to check": (["check"], "there is no ./site.toml"),
}


@pytest.mark.parametrize(("arguments", "expected"), USAGE.values(), ids=USAGE)
def test_what_cannot_be_understood_ends_with_64_and_what_to_write(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    answer = pyserve(tmp_path, *arguments)
    assert (answer.returncode, answer.stdout) == (64, "")
    assert expected in answer.stderr
    assert "Traceback" not in answer.stderr


def test_help_teaches_and_ends_with_0(tmp_path: Path) -> None:
    for arguments in (["--help"], ["run", "--help"], ["check", "-h"], ["status", "--help"], ["stop", "--help"]):
        answer = pyserve(tmp_path, *arguments)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert "pyserve" in answer.stdout
        assert "site.toml" in answer.stdout


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    from pyserve import __version__

    assert pyserve(tmp_path, "--version").stdout == f"pyserve {__version__}\n"


def test_c_alone_means_run() -> None:
    options = parse(["-c", "a.toml", "-c", "b.toml"])
    assert (options.command, options.files, options.target) == ("run", ["a.toml", "b.toml"], None)


def test_abbreviated_options_are_refused() -> None:
    with pytest.raises(UsageError):
        parse(["run", "--lis", ":80"])


def test_run_prints_every_problem_and_ends_with_78(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'{HEAD}file = "."\n[server]\nhttp = 1\n')
    answer = pyserve(tmp_path, "run")
    assert answer.returncode == 78
    assert answer.stderr.splitlines() == [
        "site.toml:1: site.a: no handler: expected one of files, app, redirect, respond",
        'site.toml:3: site.a.file: unknown key; did you mean "files"?',
        'site.toml:5: server.http: expected an address or a list of them, as "127.0.0.1:8000", not the integer 1',
        "pyserve: 3 problems in site.toml",
    ]


def test_run_of_a_missing_file_ends_with_78(tmp_path: Path) -> None:
    answer = pyserve(tmp_path, "-c", "none.toml")
    assert (answer.returncode, answer.stderr) == (78, "none.toml: no such file\npyserve: 1 problem in none.toml\n")


def test_run_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'{HEAD}files = "."\n')
    script = (
        "import sys; from pyserve.cli.arguments import parse; import pyserve.cli.main, pyserve.cli.run;"
        "from pyserve.config.load import load; parse(['-c', 'site.toml']); load(['site.toml']);"
        "print([name for name in ('asyncio', 'rich', 'difflib', 'tempfile', 'subprocess', 'hashlib', 'pyserve.worker')"
        " if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "[]\n"


def test_check_of_a_right_file_says_what_was_checked_and_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(f"print('noise', end='')\n{WSGI}")
    (tmp_path / "two.py").write_text(ASGI)
    (tmp_path / "site.toml").write_text(
        f'{HEAD}app = "one"\n[site.b]\nhosts = ["b.com"]\napp = "two"\n'
        '[app.one]\nentry = "one:app"\n[app.two]\nentry = "two:app"\n'
    )
    answer = pyserve(tmp_path, "check")
    version = ".".join(map(str, sys.version_info[:3]))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == (
        f"site.toml: ok: 2 sites; 2 apps: one (WSGI, Python {version}), two (ASGI, Python {version})\n"
    )


def test_check_tells_form_surroundings_and_imports_in_one_go(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import sys\n\nraise RuntimeError('no \\x1b[31mdatabase')\n")
    (tmp_path / "site.toml").write_text(
        f'{HEAD}app = "bad"\n[site.b]\nhosts = ["b.com"]\nfiles = "none"\nfoo = 1\n'
        '[app.bad]\nentry = "bad:app"\n[app.worse]\nentry = "bad:app"\npython = "none"\n'
    )
    answer = pyserve(tmp_path, "check", "-c", "site.toml")
    lines = answer.stderr.splitlines()
    assert (answer.returncode, answer.stdout) == (78, "")
    assert [line for line in lines if not line.startswith(" ")] == [
        f"site.toml:6: site.b.files: no such folder: {tmp_path}/none",
        "site.toml:7: site.b.foo: unknown key; expected "
        '"app", "autoindex", "cache", "charset", "compress", "default", "dotfiles", "download", "early_hints", '
        '"error_pages", "files", "headers", "hosts", "index", "max_body", "precompressed", "redirect", "respond", '
        '"route", "symlinks", "tls", "try" or "types"',
        "site.toml:9: app.bad.entry: can't be imported: RuntimeError: no \\x1b[31mdatabase",
        f"site.toml:12: app.worse.python: no such interpreter: {tmp_path}/none (a path, absolute or relative to root)",
        "pyserve: 4 problems in site.toml",
    ]
    assert any(line.startswith("    ") and "bad.py" in line for line in lines)


def test_check_says_what_a_certificate_is_for_and_since_when_beside_other_problems(tmp_path: Path) -> None:
    authority = Authority()
    for name, starts in (("right", -1), ("early", 10)):
        cert, key = authority.issue("a.com", starts=starts)
        (tmp_path / f"{name}.pem").write_bytes(cert + key)
    (tmp_path / "site.toml").write_text(
        '[server]\nhttps = ":0"\n[site.a]\nhosts = ["a.com", "b.com"]\nfiles = "."\ntls = { cert = "right.pem" }\n'
        '[site.c]\nhosts = ["c.com"]\nfiles = "."\ntls = { cert = "early.pem" }\n'
    )
    answer = pyserve(tmp_path, "check")
    assert answer.returncode == 78
    assert "note: site a: its certificate is for a.com, not for b.com\n" in answer.stderr
    assert "site.c.tls.cert" in answer.stderr
    assert "early.pem is not valid before 20" in answer.stderr


def test_check_says_what_keeps_a_local_authority_from_its_work_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "half").mkdir()
    (tmp_path / "half/ca.pem").touch()
    sites = {"new": "made/ca", "none": "file/ca", "half": "half"}
    (tmp_path / "site.toml").write_text(
        '[server]\nhttps = ":0"\n'
        + "".join(
            f'[site.{name}]\nhosts = ["{name}.localhost"]\nrespond = {{ body = "" }}\n'
            f'tls = {{ local_ca = "{folder}" }}\n'
            for name, folder in sites.items()
        )
    )
    answer = pyserve(tmp_path, "check")
    assert answer.returncode == 78
    assert "site.none.tls.local_ca: the local authority: " in answer.stderr
    assert f"can't be made: {tmp_path}/file is not a folder; name another" in answer.stderr
    assert "site.half.tls.local_ca: " in answer.stderr
    assert f"move {tmp_path}/half away, and a new one is made" in answer.stderr
    assert "site.new" not in answer.stderr
    assert not (tmp_path / "made").exists()


IMPORTS = {
    "no module": ("", "none:app", "No module named 'none'"),
    "no attribute": ("", "m:app", "has no attribute 'app'"),
    "not callable": ("app = 1", "m:app", "can't be called"),
    "exits": ("raise SystemExit(5)", "m:app", "SystemExit"),
    "ends the process": ("import os\nos._exit(7)", "m:app", "ended with 7 while it imported the app"),
    "is killed": ("import os\nos.kill(os.getpid(), 9)", "m:app", "was killed by SIGKILL while it imported the app"),
    "takes too long": ("import time\ntime.sleep(100)", "m:app", "took longer than 1 s (startup_timeout)"),
}


@pytest.mark.parametrize(("code", "entry", "expected"), IMPORTS.values(), ids=IMPORTS)
def test_an_import_that_fails_is_a_problem(tmp_path: Path, code: str, entry: str, expected: str) -> None:
    (tmp_path / "m.py").write_text(code)
    (tmp_path / "site.toml").write_text(f'{HEAD}app = "x"\n[app.x]\nentry = "{entry}"\nstartup_timeout = "1s"\n')
    answer = pyserve(tmp_path, "check")
    assert answer.returncode == 78
    assert answer.stderr.startswith("site.toml:5: app.x.entry: ")
    assert expected in answer.stderr.splitlines()[0]


def test_check_ends_what_an_import_left_running(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "import subprocess\n"
        f"child = subprocess.Popen(['sleep', '1000'])\nopen('pid', 'w').write(str(child.pid))\n{WSGI}"
    )
    (tmp_path / "site.toml").write_text(f'{HEAD}app = "x"\n[app.x]\nentry = "m:app"\n')
    assert pyserve(tmp_path, "check").returncode == 0
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    # Killed; its new parent may not have waited for it yet.
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_an_app_sees_its_environment_but_check_does_not_print_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("import os\nassert os.environ['KEY'] == 's3cret'\n" + WSGI)
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "site.toml").write_text(
        f'{HEAD}app = "x"\n[app.x]\nentry = "m:app"\nenv = {{ KEY = {{ file = "key" }} }}\n'
    )
    answer = pyserve(tmp_path, "check")
    assert answer.returncode == 0, answer.stderr
    assert "s3cret" not in answer.stdout + answer.stderr


@contextmanager
def admin_socket(path: Path, answer: bytes, commands: list[bytes]) -> Iterator[None]:
    """A fake server that takes one connection, reads a line, answers and closes."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                commands.append(lines.readline())
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


STATUS = {
    "master": {"pid": 1},
    "generation": 1,
    "fronts": [{"pid": 2, "connections": 3}],
    "apps": {
        "shop": {
            "release": "-",
            "queue": 0,
            "workers": [
                {"pid": 4, "state": "idle", "running": 0, "websockets": 2, "requests": 5, "memory_bytes": 6 << 20}
            ],
        },
        "broken": {"release": "-", "queue": 0, "workers": [], "reason": "ImportError: \x1b[31mno"},
    },
    "sites": {"a": {"state": "serving", "reason": ""}, "b": {"state": "degraded", "reason": "[bold]x"}},
}


def test_status_prints_a_table(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[server]\nadmin = "unix:a"\n')
    commands: list[bytes] = []
    with admin_socket(tmp_path / "a", json.dumps(STATUS).encode(), commands):
        answer = pyserve(tmp_path, "status")
    assert (answer.returncode, answer.stderr, commands) == (0, "", [b"status\n"])
    for words in ("master 1 · generation 1 · front 2 · 3 connections", "idle", "6.0 MiB", "degraded", "[bold]x"):
        assert words in answer.stdout
    assert "app broken: ImportError: \\x1b[31mno" in answer.stdout


def test_status_as_json_is_what_the_server_said(tmp_path: Path) -> None:
    with admin_socket(tmp_path / "a", json.dumps(STATUS).encode() + b"\n", []):
        answer = pyserve(tmp_path, "status", "--json", "--admin", "a")
    assert (answer.returncode, json.loads(answer.stdout)) == (0, STATUS)


def test_stop_waits_until_the_server_is_gone(tmp_path: Path) -> None:
    commands: list[bytes] = []
    with admin_socket(tmp_path / "a", b'{"stopping": true}\n', commands):
        answer = pyserve(tmp_path, "stop", "--admin", "a")
    assert (answer.returncode, commands) == (0, [b"stop\n"])
    assert answer.stderr == "pyserve: stopping: running requests may end first\npyserve: stopped\n"


ANSWERS = {
    "a refusal": (b'{"error": "not allowed"}\n', "not allowed"),
    "another program": (b"220 mail ESMTP\r\n", "does not answer as pyserve does"),
    "no object": (b"[]", "does not answer as pyserve does"),
}


@pytest.mark.parametrize("command", ["status", "stop"])
@pytest.mark.parametrize(("said", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_ends_with_69(tmp_path: Path, command: str, said: bytes, expected: str) -> None:
    with admin_socket(tmp_path / "a", said, []):
        answer = pyserve(tmp_path, command, "--admin", "a")
    assert answer.returncode == 69
    assert expected in answer.stderr


@pytest.mark.parametrize("command", ["status", "stop"])
def test_without_a_server_commands_end_with_69_and_what_to_try(tmp_path: Path, command: str) -> None:
    (tmp_path / "site.toml").write_text(f'{HEAD}files = "."\n[server]\nadmin = "unix:run/a.sock"\n')
    answer = pyserve(tmp_path, command)
    assert (answer.returncode, answer.stdout) == (69, "")
    assert f"{tmp_path}/run/a.sock" in answer.stderr
    assert "try: start it (pyserve run -c site.toml)" in answer.stderr
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    answer = pyserve(tmp_path, command, "--admin", "dead")
    assert answer.returncode == 69
