"""``pyserve.run`` in a process of its own: it blocks until it is told to stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIVE = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"live"]
pyserve.run(app, listen="127.0.0.1:0", config=quiet)
"""
PROGRAMS = {
    "a live callable": (LIVE, b"live"),
    "an application by name": (
        'pyserve.run("trial_wsgi:application", listen="127.0.0.1:0", '
        'config={**quiet, "app": {"trial_wsgi": {"root": APPS, "workers": 1}}})',
        b"hello from WSGI\n",
    ),
    "a tree": (
        'pyserve.run(listen="127.0.0.1:0", '
        'config={**quiet, "site": {"a": {"default": True, "respond": {"status": 200, "body": "tree"}}}})',
        b"tree",
    ),
}


@pytest.mark.parametrize(("program", "answer"), PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_it_serves_until_it_is_told_to_stop(
    tmp_path: Path, program: str, answer: bytes, number: signal.Signals
) -> None:
    start = (
        f"import pyserve\nAPPS = {str(ROOT / 'tests' / 'apps')!r}\n"
        f'quiet = {{"log": {{"access": False}}, "server": {{"admin": "unix:{tmp_path}/admin.sock"}}}}\n'
    )
    (tmp_path / "program.py").write_text(start + program + '\nprint("after")\n')
    child = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin"},
        text=True,
    )
    assert child.stderr is not None
    lines = []
    try:
        for line in child.stderr:
            lines.append(line)
            if found := re.search(r"ready: (http://[0-9.:]+)", line):
                break
        else:
            raise AssertionError("".join(lines))
        with urllib.request.urlopen(f"{found[1]}/hello", timeout=10) as response:
            assert response.read() == answer
        child.send_signal(number)
        output, errors = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 0, errors
    assert output == "after\n"
