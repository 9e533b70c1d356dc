"""From files to a configuration: reading, merging, what is missing around them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pyserve.config.load import admin_candidates, from_tree, load, read, tree_for
from pyserve.config.model import Files, Listener, RunApp
from pyserve.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"
RIGHT = '[site.a]\ndefault = true\nfiles = "."\n'


def write(folder: Path, text: str | bytes, name: str = "site.toml") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def problems_of(*paths: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(paths)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_a_shipped_config_has_no_problem_of_form(path: Path) -> None:
    assert load([str(path)]).sites


def test_the_demo_has_no_problem_at_all() -> None:
    assert load([str(CONF / "site.toml")]).surroundings == ()


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "site.toml: is empty"),
    "syntax": (b"[site.a]\nx = \n", "site.toml:2: no valid TOML: Invalid value"),
    "half written": (b"[site.a]\nhosts = [", "site.toml:2: no valid TOML: Invalid value"),
    "cut in a string": (b'a = """\n\n', "site.toml:1: no valid TOML: Unterminated string"),
    "a key twice": (b"a = 1\na = 2\n", "site.toml:2: no valid TOML: Cannot overwrite a value"),
    "not UTF-8": (b"a = 1\n# \xff\n", "site.toml:2: expected UTF-8"),
    "binary": (bytes(range(256)), "site.toml:2: expected UTF-8"),
    "deep": (b"a = " + b"[" * 20_000, "site.toml: no valid TOML: nested too deeply"),
    "long integer": (b"a = " + b"9" * 5000, "site.toml: no valid TOML: Exceeds the limit"),
}


@pytest.mark.parametrize(("data", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_toml_is_a_problem_with_its_line(tmp_path: Path, data: bytes, expected: str) -> None:
    (problem,) = problems_of(write(tmp_path, data))
    assert problem.startswith(f"{tmp_path}/{expected}")


def test_a_file_that_is_missing_a_folder_without_files_and_a_pipe_are_problems(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    problems = problems_of(*(str(tmp_path / name) for name in ("none.toml", "empty", "loop", "pipe")))
    assert [problem.removeprefix(f"{tmp_path}/") for problem in problems] == [
        "empty: has no *.toml files",
        "none.toml: no such file",
        f"loop: can't be read: {os.strerror(40 if sys.platform == 'linux' else 62)}",
        "pipe: is not a regular file",
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf[site.a]\r\ndefault = true\r\nfiles = 1\r\n")
    assert problems_of(path) == [f"{path}:3: site.a.files: expected a string, not the integer 1"]


def test_a_folder_stands_for_its_files_and_each_is_its_own_base(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write(tmp_path / "d", RIGHT, "b.toml")
    write(tmp_path / "d", '[app.x]\nentry = "x:y"\n', "a.toml")
    write(tmp_path / "d", "not toml", "c.txt")
    more = write(tmp_path, '[site.b]\nhosts = ["b.com"]\nfiles = "."\n')
    config = load([str(tmp_path / "d"), more])
    assert config.files == (f"{tmp_path}/d/a.toml", f"{tmp_path}/d/b.toml", more)
    assert [site.handler for site in config.sites] == [Files(f"{tmp_path}/d"), Files(str(tmp_path))]
    assert config.apps[0].root == f"{tmp_path}/d"


def test_a_site_in_two_files_is_refused_with_both_places(tmp_path: Path) -> None:
    one, two = write(tmp_path, RIGHT, "one.toml"), write(tmp_path, f"\n{RIGHT}", "two.toml")
    assert problems_of(one, two) == [f"{two}:2: site.a: is there already, in another file (site.a, {one}:1)"]


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path, RIGHT)
    assert problems_of(one, f"{tmp_path}/./site.toml") == [f"{tmp_path}/./site.toml: is the same file as {one}"]


def test_relative_names_are_shown_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "[site.a]\ndefault = true\n")
    assert problems_of("site.toml") == [
        "site.toml:1: site.a: no handler: expected one of files, app, redirect, respond"
    ]


def test_what_is_missing_around_the_file_is_no_problem_of_form(tmp_path: Path) -> None:
    write(tmp_path, "x", "file")
    path = write(
        tmp_path,
        """[log]
error = { file = "logs/error.log" }
[server.limits]
spool_dir = "spool"
[app.a]
entry = "a:a"
root = "a"
[app.b]
entry = "b:b"
venv = "venv"
[app.c]
entry = "c:c"
python = "file"
env = { KEY = { file = "secret" } }
[site.a]
default = true
files = "file"
[[site.a.route]]
path = "/one"
files = "one.txt"
""",
    )
    config = load([path])
    assert [str(problem).removeprefix(f"{path}:").replace(f"{tmp_path}/", "") for problem in config.surroundings] == [
        "2: log.error.file: no such folder: logs",
        "4: server.limits.spool_dir: no such folder: spool",
        "7: app.a.root: no such folder: a",
        "10: app.b.venv: no virtual environment: venv/bin/python is missing; python3 -m venv venv",
        "13: app.c.python: file is not executable",
        "14: app.c.env.KEY: secret: no such file",
        "17: site.a.files: file is not a folder",
        "20: site.a.route[1].files: no such file: one.txt",
    ]
    assert all(problem.surroundings for problem in config.surroundings)
    assert config.sites[0].fault == f"{tmp_path}/file is not a folder"
    assert [app.fault for app in config.apps] == ["", "", f"{tmp_path}/secret: no such file"]


def test_form_and_surroundings_come_together_when_the_form_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, '[site.a]\ndefault = 1\nfiles = "none"\n')
    loaded = read([path])
    assert [problem.line for problem in loaded.problems] == [2, 3]
    assert [problem.line for problem in loaded.form] == [2]


def test_an_unknown_user_is_a_problem_of_form(tmp_path: Path) -> None:
    path = write(tmp_path, f'{RIGHT}[server]\nuser = "no-such-user"\n')
    assert problems_of(path) == [f"{path}:5: server.user: there is no user 'no-such-user' on this machine"]


def test_a_secret_is_read_from_its_file_relative_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", "s3cret\n", "key")
    write(tmp_path, "wrong", "key")
    path = write(tmp_path, f'{RIGHT}[app.a]\nentry = "a:a"\nroot = "a"\nenv = {{ KEY = {{ file = "key" }} }}\n')
    assert load([path]).apps[0].env == (("KEY", "s3cret"),)


def test_the_interpreter_by_default_is_our_own(tmp_path: Path) -> None:
    assert load([write(tmp_path, f'{RIGHT}[app.a]\nentry = "a:a"\n')]).apps[0].python == sys.executable


def test_a_tree_is_relative_to_the_folder_that_is_given(tmp_path: Path) -> None:
    config = from_tree({"site": {"a": {"default": True, "files": "."}}}, folder=str(tmp_path))
    assert config.sites[0].handler == Files(str(tmp_path))
    assert config.files == ()


def test_a_tree_has_problems_without_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        from_tree({"site": {"a": {"default": True, "file": "."}}})
    assert str(caught.value.problems[0]) == 'config: site.a.file: unknown key; did you mean "files"?'


def test_an_app_alone_becomes_the_default_site() -> None:
    config = from_tree(tree_for("shop.wsgi:make()", [":0", "unix:x"], workers=3))
    app, site = config.apps[0], config.sites[0]
    assert (app.module, app.attribute, app.factory, app.workers, app.root) == (
        "shop.wsgi",
        "make",
        True,
        3,
        os.getcwd(),
    )
    assert (site.default, site.handler) == (True, RunApp(app.name))
    assert config.server.http == (Listener("", 0), Listener(unix_path=f"{os.getcwd()}/x"))


def test_a_folder_alone_becomes_the_default_site(tmp_path: Path) -> None:
    config = from_tree(tree_for(str(tmp_path)))
    assert config.sites[0].handler == Files(str(tmp_path))
    assert config.server.http == (Listener("127.0.0.1", 8000),)


@pytest.mark.parametrize("target", ["shop", "./none", "a/b:c"])
def test_what_is_neither_app_nor_folder_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"there is no folder|expected"):
        tree_for(target)


def test_commands_find_the_socket_that_the_file_names_even_if_the_rest_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nhttp = 1\nadmin = "unix:run/a.sock"\n[site]\nx = 1\n')
    assert admin_candidates([path]) == [f"{tmp_path}/run/a.sock"]


@pytest.mark.parametrize("data", [RIGHT, "broken ["])
def test_commands_look_where_the_server_listens_by_default(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    path = write(tmp_path, RIGHT)
    admin = load([path]).server.admin
    write(tmp_path, data)
    (tmp_path / "link.toml").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert admin_candidates(["site.toml"])[0] == admin
