"""What another user needs to run: folders and interpreters that it may enter.

Those of pytest and of pyenv often lie below folders of mode 0700.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support import tools

_NOT_NEEDED = (
    "test",
    "site-packages",
    "dist-packages",
    "idlelib",
    "ensurepip",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "pydoc_data",
)


class Interpreter(NamedTuple):
    """``libraries``: where its shared library is, for LD_LIBRARY_PATH; "" = it needs none."""

    path: str
    libraries: str = ""

    def env(self) -> str:
        """Return the variable that the application's table has to have, as a member of ``env``."""
        return f'LD_LIBRARY_PATH = "{self.libraries}"' if self.libraries else ""


def users(count: int) -> list[pwd.struct_passwd]:
    """Return users without rights that this machine has."""
    found = []
    for name in ("nobody", "daemon", "www-data", "games", "mail"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid and account.pw_uid not in [other.pw_uid for other in found]:
            found.append(account)
    if len(found) < count:
        tools.not_run(f"this machine has not {count} users such as nobody and daemon", installable=False)
    return found[:count]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that everybody may enter, and only its owner change."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(dir="/tmp", prefix="pyserve-open-")))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def system_interpreter() -> Interpreter:
    """Return the system's own, which everybody may run."""
    path = "/usr/bin/python3"
    try:
        question = "import sys, venv; print(sys.version_info >= (3, 10))"
        answer = subprocess.run([path, "-c", question], capture_output=True, check=False)
    except OSError:
        tools.not_run(f"there is no {path}", installable=False)
    if answer.stdout != b"True\n":
        tools.not_run(f"{path} is too old, or has no venv", installable=False)
    return Interpreter(path)


def copied_interpreter(name: str, folder: Path) -> Interpreter:
    """Return a copy below ``folder`` of an interpreter like ``python3.13``: what a server needs of it, in links."""
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    original = os.path.realpath(sys.executable) if name == own else tools.find(name)
    if original is None:
        tools.not_run(tools.why_missing(name)[0], installable=False)
    question = "import sys, os, sysconfig; print(os.path.dirname(os.__file__), sys.base_prefix, sys.exec_prefix)"
    answer = subprocess.run([original, "-c", question], capture_output=True, text=True, check=True)
    library, prefix = answer.stdout.split()[:2]
    if not library.startswith(prefix + "/lib/"):
        tools.not_run(f"{original} is not laid out as prefix/lib/{name}", installable=False)
    top = folder / name
    (top / "bin").mkdir(parents=True)
    path = top / "bin" / name
    _link(os.path.realpath(original), str(path))

    def ignored(_: str, names: list[str]) -> list[str]:
        return [entry for entry in names if entry in _NOT_NEEDED or entry.startswith("config-")]

    shutil.copytree(library, top / "lib" / name, copy_function=_link, ignore=ignored)
    shared = sorted(Path(prefix, "lib").glob(f"lib{name}*.so*"))
    for file in shared:
        _link(str(file), str(top / "lib" / file.name))
    return Interpreter(str(path), str(top / "lib") if shared else "")


def environment(interpreter: Interpreter, folder: Path, modules: dict[str, str]) -> None:
    """Make a virtual environment with these modules, by their file names, and nothing else."""
    env = {"PATH": os.defpath, "LD_LIBRARY_PATH": interpreter.libraries}
    command = [interpreter.path, "-I", "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, env=env, check=True, capture_output=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    for name, text in modules.items():
        (packages / name).write_text(text)


def _link(original: str, copy: str) -> None:
    try:
        os.link(original, copy)
    except OSError:
        shutil.copy2(original, copy)
