"""Promise: one command measures pyserve and the peers it finds, prints the table, and leaves nothing running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.needs("wrk", "nginx")
@pytest.mark.parametrize("scenario", ["files_small", "scale_up"])
def test_a_short_run_prints_a_table(tmp_path: Path, scenario: str) -> None:
    """Only that it works: figures of so short a run say nothing."""
    result = tmp_path / "results.json"
    options = ["--scenario", scenario, "--seconds", "0.3", "--rounds", "1", "--json", str(result)]
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "pyserve" in answer.stdout
    assert "nginx" in answer.stdout
    assert "not measured" not in answer.stdout
    assert json.loads(result.read_text())
    # Orphans become children of the test process, so nothing of it can hide.
    assert not [process for process in processes.descendants(os.getpid()) if not process.is_zombie]
