"""Style and types are checks like the others. Their settings are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "ruff finds nothing": ["ruff", "check", "."],
    "ruff would format nothing": ["ruff", "format", "--check", "."],
    "scripts without an ending too": ["ruff", "check", ".ci/demo", ".ci/test"],
    "mypy is content": ["mypy", "--strict"],
    "what runs in the app's interpreter is fit for 3.10": [
        *["mypy", "--strict", "--python-version", "3.10", "-p", "pyserve.wire", "-p", "pyserve.worker"],
    ],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_style(command: list[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
