"""Virtual environments for real applications, made by the tests and kept between runs under ``.venv/apps``.

They hold what a project of an operator holds and not pyserve. Packages are installed by name through pip and npm; where
the registry can't be reached the test is listed as NOT RUN.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import tools

CACHE = Path(__file__).resolve().parents[2] / ".venv" / "apps"
FRAMEWORKS = ["django>=5.2", "flask>=3.1", "fastapi>=0.115", "python-multipart>=0.0.20"]
# Beside them, for the Python that pyserve runs on only.
MORE_FRAMEWORKS = ["starlette>=0.46", "quart>=0.20", "litestar>=2.15", "channels>=4.2"]
# The one that pyserve runs on, and two others: the oldest that applications may use, and a newer one.
PYTHONS = list(dict.fromkeys([f"python{sys.version_info.major}.{sys.version_info.minor}", "python3.10", "python3.13"]))


def frameworks(python: str) -> Path:
    """Return a virtual environment with Django, Flask and FastAPI for an interpreter named like ``python3.10``."""
    interpreter = sys.executable if python == PYTHONS[0] else tools.find(python)
    assert interpreter, "the test has to say that it needs this interpreter"
    packages = [*FRAMEWORKS, *(MORE_FRAMEWORKS if python == PYTHONS[0] else [])]
    key = hashlib.sha256(repr((packages, os.path.realpath(interpreter))).encode()).hexdigest()[:8]
    folder = CACHE / f"{python}-{key}"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        run([interpreter, "-m", "venv", str(folder)], "a virtual environment could not be made")
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, *packages], f"{' '.join(packages)} could not be installed")
        done.touch()
    return folder


def more_frameworks() -> Path:
    """Return the one that has Starlette, Quart, Litestar and Channels too."""
    return frameworks(PYTHONS[0])


def pyserve_itself(python: str) -> Path:
    """Return an interpreter like ``python3.13`` with this checkout of pyserve and what its tests need installed."""
    import tomllib

    interpreter = tools.find(python)
    assert interpreter, "the test has to say that it needs this interpreter"
    root = CACHE.parents[1]
    metadata = (root / "pyproject.toml").read_bytes()
    key = hashlib.sha256(metadata + os.path.realpath(interpreter).encode() + bytes(root)).hexdigest()[:8]
    folder = CACHE / f"pyserve-{python}-{key}"
    own = folder / "bin/python"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        run([interpreter, "-m", "venv", str(folder)], "a virtual environment could not be made")
        pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        group = tomllib.loads(metadata.decode())["dependency-groups"]["test"]
        run([*pip, "--editable", str(root), *group], "pyserve and what its tests need could not be installed")
        done.touch()
    return own


def swagger_ui() -> Path:
    """Return the folder of npm's swagger-ui-dist, which ``/docs`` of FastAPI loads."""
    npm = tools.find("npm")
    assert npm, "the test has to say that it needs npm"
    folder = CACHE / "swagger-ui"
    package = folder / "node_modules/swagger-ui-dist"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", f"--cache={CACHE / 'npm'}"]
        run([npm, "install", *options, "swagger-ui-dist@5"], "swagger-ui-dist could not be installed", cwd=folder)
        done.touch()
    return package


def run(command: list[str], failure: str, cwd: Path | None = None) -> None:
    """Run what fetches or builds something; when it fails twice, the test ends as NOT RUN."""
    for _ in range(2):  # registries have their moments
        answer = subprocess.run(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300
        )
        if answer.returncode == 0:
            return
    tools.not_run(f"{failure}: {answer.stdout.strip().splitlines()[-1:]}", installable=True)
