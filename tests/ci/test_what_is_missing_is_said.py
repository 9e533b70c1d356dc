"""A test that could not run is listed with the reason; in CI, what could have been installed is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.mark.needs("wrk")
def test_that_needs_a_program(): pass

@pytest.mark.needs("python3.99")
def test_that_needs_another_python(): pass

def test_that_needs_nothing(): pass
"""


@pytest.mark.parametrize("in_ci", [False, True], ids=["by hand", "in CI"])
def test_a_gap_is_named(tmp_path: Path, in_ci: bool) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_gaps.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers = needs(*tools)\nasyncio_default_fixture_loop_scope = function"
    )
    env = {**os.environ, "PATH": "/nowhere", "PYTHONPATH": str(ROOT), "PYSERVE_CI": "1" if in_ci else ""}
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    listed = answer.stdout.split("= NOT RUN =")[1]
    assert "test_that_needs_another_python: no CPython 3.99" in listed
    if in_ci:
        assert answer.returncode == 1
        assert "not run in CI: wrk is not installed (apt install wrk)" in answer.stdout
    else:
        assert answer.returncode == 0
        assert "test_that_needs_a_program: wrk is not installed (apt install wrk)" in listed
    assert "passed" in answer.stdout.splitlines()[-1]
