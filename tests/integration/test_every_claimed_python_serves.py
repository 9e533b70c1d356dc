"""Every CPython that the metadata claims runs the pure tests, and the promises that lean on the interpreter most."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import environments

ROOT = Path(__file__).resolve().parents[2]
OWN = f"python3.{sys.version_info.minor}"
CLAIMED = [
    f"python{line.rsplit(' ', 1)[1]}"
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    if line.startswith("Programming Language :: Python :: 3.")
]
TESTS = [
    *(f"tests/{part}" for part in ("balance", "net", "routing", "wire", "front")),
    "tests/http/test_h1_limits.py",
    "tests/handlers/test_pool.py",
    "tests/integration/test_applications_answer.py",
    "tests/integration/test_stop_finishes_what_runs.py",
]


def test_this_python_is_claimed() -> None:
    assert OWN in CLAIMED


@pytest.mark.long
@pytest.mark.parametrize(
    "python", [pytest.param(name, marks=pytest.mark.needs(name)) for name in CLAIMED if name != OWN]
)
def test_the_core_of_the_suite_holds_on(python: str) -> None:
    interpreter = environments.pyserve_itself(python)
    options = ["-q", "-p", "no:cacheprovider", "-m", "not needs"]
    run = subprocess.run([interpreter, "-m", "pytest", *options, *TESTS], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
