"""Which programs and interpreters are here, and what it means when one is not.

A test says what it needs (``@pytest.mark.needs("strace")``) or finds out on the way (``not_run``). Nothing is installed
behind the user's back: the test is skipped and listed as NOT RUN. In CI (``PYSERVE_CI``) a missing thing that packages
give by name is a failure; other CPythons and foreign platforms are only listed.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

# What to install, by Debian's names.
PACKAGES = {
    "nginx": "nginx",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "strace": "strace",
    "wrk": "wrk",
    "npm": "npm",
    "pebble": "pebble",
    "curl": "curl",
    "nghttp": "nghttp2-client",
    "openssl": "openssl",
}
# What no package gives: Debian and its kin have them, others do without.
OF_DEBIAN = ("apt-get", "dpkg-deb")
OUTSIDE_PATH = ["/usr/sbin", "/usr/local/sbin", "/sbin"]


def is_ci() -> bool:
    return bool(os.environ.get("PYSERVE_CI"))


def find(tool: str) -> str | None:
    """Return the path of a program or of an interpreter (``python3.10``)."""
    if tool.startswith("python3."):
        return interpreter(tool.removeprefix("python"))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *OUTSIDE_PATH])
    return shutil.which(tool, path=path)


def why_missing(tool: str) -> tuple[str, bool]:
    """Return the reason why a tool can't be used ("" = it can) and whether a package gives it."""
    if tool == "linux":
        return ("" if sys.platform == "linux" else "it looks into /proc, which only Linux has", False)
    if tool == "root":
        return ("" if os.geteuid() == 0 else "only root can start processes of other users", False)
    if find(tool):
        return "", False
    if tool in PACKAGES:
        return f"{tool} is not installed (apt install {PACKAGES[tool]})", True
    if tool in OF_DEBIAN:
        return f"no {tool} here, which only Debian and its kin have", False
    if tool.startswith("python3."):
        return f"no CPython {tool.removeprefix('python')} on PATH or among pyenv's versions", False
    raise ValueError(f"unknown tool {tool!r}; add it to {__name__}")


def not_run(reason: str, *, installable: bool) -> NoReturn:
    """End the test here: listed as NOT RUN, or failed where CI should have had it."""
    if installable and is_ci():
        pytest.fail(f"not run in CI: {reason}", pytrace=False)
    pytest.skip(reason)


@functools.cache
def interpreter(version: str) -> str | None:
    """Return a working CPython of a minor version ("3.10") that can make virtual environments."""
    candidates = [shutil.which(f"python{version}")]
    # With another HOME than the user's own (CI, a clean-room test) pyenv is still where the user has it.
    roots = [
        os.environ.get("PYENV_ROOT"),
        str(Path("~").expanduser() / ".pyenv"),
        pwd.getpwuid(os.getuid()).pw_dir + "/.pyenv",
    ]
    for root in roots:
        if root:
            candidates += sorted(
                map(str, Path(root, "versions").glob(f"{version}.*/bin/python{version}")), reverse=True
            )
    question = "import ensurepip, sys, platform; print(sys.executable, platform.python_implementation())"
    for candidate in candidates:
        if not candidate:
            continue
        # A pyenv shim is on PATH for every version and runs only the selected one, so it has to be tried.
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.split()[1:] == ["CPython"]:
            return answer.stdout.split()[0]
    return None
