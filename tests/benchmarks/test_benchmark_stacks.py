"""What the benchmarks start is well formed: pyserve's own configs load, nginx accepts its own."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS, SCENARIOS, scenarios_of
from benchmarks.identity import make_identity
from benchmarks.nginx import PROXY_LOCATION, UWSGI_LOCATION, nginx_config, nginx_program, proxy_upstream
from benchmarks.servers import Program, Running, Stack, StackError, free_port
from benchmarks.sites import contenders
from benchmarks.stacks import pyserve_app, pyserve_files
from benchmarks.tools import find_tools
from pyserve.config import load


def test_every_scenario_is_there_and_begins_with_its_question() -> None:
    for name in SCENARIOS:
        module = importlib.import_module(f"benchmarks.{name}")
        assert callable(module.run)
        assert "?" in module.__doc__


def test_a_group_stands_for_its_scenarios_in_the_order_of_the_list() -> None:
    assert scenarios_of(None) == list(SCENARIOS)
    assert scenarios_of(["startup", "hello_asgi"]) == ["hello_asgi", "startup"]
    assert scenarios_of(["files", "files_small"]) == list(GROUPS["files"])
    assert "files_gzip" in GROUPS["files"]


def test_the_configs_for_pyserve_load(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    on_tls = pyserve_files(tmp_path, make_identity(tmp_path / "tls"))
    stacks = [pyserve_app("wsgi", workers=2), pyserve_files(tmp_path), on_tls, *contenders()]
    for number, contender in enumerate(stacks):
        assert contender.build
        stack = contender.build(tmp_path)
        file = tmp_path / f"{number}.toml"
        file.write_text(stack.configs["site.toml"])
        config = load.load([str(file)])
        assert config.log.access
        assert config.surroundings == ()


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(
    "location",
    [PROXY_LOCATION, UWSGI_LOCATION, "root /tmp;\ngzip_static on;"],
    ids=["proxy", "uwsgi", "files"],
)
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_nginx_accepts_its_config(tmp_path: Path, location: str, is_tls: bool) -> None:
    upstream = proxy_upstream(tmp_path / "app.sock", keepalive=True)
    identity = make_identity(tmp_path) if is_tls else None
    (tmp_path / "nginx.conf").write_text(nginx_config(tmp_path, free_port(), location, upstream, identity=identity))
    argv = nginx_program(find_tools().find("nginx"), tmp_path).argv
    checked = subprocess.run([*argv, "-t"], capture_output=True, text=True, check=False)
    assert "syntax is ok" in checked.stderr


def test_a_server_that_does_not_start_is_reported_with_what_it_said(tmp_path: Path) -> None:
    program = Program((sys.executable, "-c", "raise SystemExit('no such thing')"), tmp_path / "output.log")
    with Running(Stack("broken", tmp_path, (program,), 1)) as running, pytest.raises(StackError, match="no such thing"):
        running.wait_ready()
