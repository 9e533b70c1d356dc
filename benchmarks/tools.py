"""Find the programs of the peers, and say how to get those that are missing.

Looks in the folder given by ``--peers`` or ``PYSERVE_BENCH_PEERS``, then beside this Python, then on PATH. Installs
nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HOW_TO_GET = {
    "wrk": "apt-get install wrk",
    "h2load": "apt-get install nghttp2-client",
    "nginx": "apt-get install nginx-light",
    "uwsgi": "apt-get install uwsgi-core uwsgi-plugin-python3, or pip install uwsgi in the peers' venv",
    "uvicorn": "pip install uvicorn uvloop httptools in the peers' venv",
    "django-admin": "pip install django in the peers' venv",
    "gunicorn": "pip install gunicorn in the peers' venv",
    "hypercorn": "pip install hypercorn in the peers' venv",
    "granian": "pip install 'granian[uvloop]' in the peers' venv",
}

_VERSION = {"nginx": "-v", "wrk": "-v"}


@dataclass(slots=True)
class Tools:
    """Where programs are looked for, and what was found."""

    folders: tuple[Path, ...]
    _found: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> str:
        """Return the program's path, "" if it isn't there."""
        if name not in self._found:
            places = os.pathsep.join(
                [*map(str, self.folders), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
            )
            self._found[name] = shutil.which(name, path=places) or ""
        return self._found[name]

    def version(self, name: str) -> str:
        """Return the version that the program tells, "" if it isn't there."""
        program = self.find(name)
        if not program:
            return ""
        done = subprocess.run(
            [program, _VERSION.get(name, "--version")], capture_output=True, text=True, timeout=20, check=False
        )
        found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
        return found[0] if found else "?"


def find_tools(peers: str = "") -> Tools:
    """``peers``: folder of programs to prefer, "" = what the environment says."""
    peers = peers or os.environ.get("PYSERVE_BENCH_PEERS", "")
    folders = [Path(peers).absolute()] if peers else []
    return Tools((*folders, Path(sys.executable).parent))


def missing_for(tools: Tools, *names: str) -> str:
    """Return "" if all are there, else what is missing and how to get it."""
    return " · ".join(f"{name} is not installed: {HOW_TO_GET[name]}" for name in names if not tools.find(name))
