"""The commands of README where something is missing: each says what to install, a half-made .venv is repaired."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tools

SCRIPT = "import sys; sys.path.insert(0, '.ci'); import environment as e; "
CI = Path(__file__).resolve().parents[2] / ".ci"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder that looks like a clone to the scripts, with nothing set up."""
    shutil.copytree(CI, tmp_path / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CI.parent / "pyproject.toml", tmp_path)
    return tmp_path


def run(command: list[str], clone: Path) -> subprocess.CompletedProcess[str]:
    home = clone / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        command,
        cwd=clone,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("script", ["demo", "test"])
def test_a_python_without_venv_is_told_which_package_to_install(clone: Path, script: str) -> None:
    # As on Debian without python3-venv: the module `venv` is there, `ensurepip` is not.
    code = (
        f"import runpy, sys; sys.modules['ensurepip'] = None; sys.path.insert(0, '.ci'); runpy.run_path('.ci/{script}')"
    )
    answer = run([sys.executable, "-c", code], clone)
    assert answer.returncode == 1
    assert f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.needs("python3.10")
def test_a_python_that_is_too_old_is_told_so(clone: Path) -> None:
    python = tools.find("python3.10")
    assert python
    answer = run([python, ".ci/test"], clone)
    assert answer.returncode == 1
    assert "needs Python 3.11 or newer" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_half_made_environment_is_made_anew(clone: Path) -> None:
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").write_text("#!/bin/sh\nexit 1\n")
    (clone / ".venv/bin/python").chmod(0o755)
    answer = run([sys.executable, "-c", f"{SCRIPT}e._install = lambda *_: None; print(e.prepare())"], clone)
    assert answer.returncode == 0, answer.stderr
    assert "Repairing" in answer.stderr
    python = Path(answer.stdout.strip())
    assert python == clone / ".venv/bin/python"
    assert run([str(python), "-m", "pip", "--version"], clone).returncode == 0


def test_a_second_run_installs_nothing(clone: Path) -> None:
    code = (
        f"{SCRIPT}e._works = lambda _: True; e._install = lambda *_: print('installed'); "
        "e.VENV.mkdir(exist_ok=True); e.prepare('test')"
    )
    assert run([sys.executable, "-c", code], clone).stdout == "installed\n"
    assert run([sys.executable, "-c", code], clone).stdout == ""
    # A changed dependency is noticed.
    with (clone / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    assert run([sys.executable, "-c", code], clone).stdout == "installed\n"
