"""The worker's code by a descriptor, on every CPython that applications may use."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.net.channels import read_only
from pyserve.worker import carried
from pyserve.worker.boot import check_command
from tests.support import tools

OWN = f"python3.{sys.version_info.minor}"
PYTHONS = [OWN, *(f"python3.{minor}" for minor in range(10, 14) if f"python3.{minor}" != OWN)]
LOOKS = """
import os, sys, traceback

def app(environ, start_response): ...

loader = sys.modules["_pyserve.worker.loader"]
try:
    loader.load({})
except KeyError:
    traceback.print_exc(file=sys.stdout)
import _pyserve.worker.watcher  # whatever was not needed until now
print(loader.__file__, loader.__spec__.origin, sys.modules["_pyserve.worker"].__path__)
print([name for name in sys.modules if name.split(".")[0] == "pyserve"], sys.path[0] == os.getcwd())
print(sorted(int(name) for name in os.listdir("/dev/fd") if int(name) > 2 and os.path.exists("/dev/fd/" + name)))
"""


@pytest.fixture
def code_fd() -> Iterator[int]:
    fd = read_only(carried.pack())
    yield fd
    os.close(fd)


@pytest.mark.parametrize("python", [OWN, *(pytest.param(name, marks=pytest.mark.needs(name)) for name in PYTHONS[1:])])
def test_code_from_a_descriptor_is_as_if_from_its_folder(python: str, code_fd: int, tmp_path: Path) -> None:
    interpreter = sys.executable if python == OWN else tools.find(python)
    assert interpreter
    (tmp_path / "looks.py").write_text(LOOKS)
    app_spec = {"root": str(tmp_path), "module": "looks", "attribute": "app", "factory": False, "type": "auto"}
    for _ in range(2):  # whoever has the descriptor too shares its position
        done = subprocess.run(
            check_command(interpreter, code_fd),
            pass_fds=[code_fd],
            input=marshal.dumps((app_spec,), 2),
            capture_output=True,
            cwd=tmp_path,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        printed = done.stdout.decode()
    path = str(Path(carried.__file__).with_name("loader.py"))
    assert f'File "{path}", line ' in printed
    assert 'root = spec["root"]' in printed
    assert f"{path} {path} []" in printed
    assert "[] True\n[]\n" in printed
    assert printed.splitlines()[-1].startswith("ok wsgi 3.")


def test_only_what_is_below_the_private_package_is_found() -> None:
    finder = carried.Finder("_other", {"wire": ("/w.py", True, ""), "wire.a": ("/a.py", False, "x = 1")})
    assert finder.find_spec("os") is None
    assert finder.find_spec("_other.none") is None
    assert finder.find_spec("_otherwise.wire") is None
    spec = finder.find_spec("_other.wire.a")
    assert spec is not None
    assert (spec.origin, spec.has_location, finder.is_package("_other.wire")) == ("/a.py", True, True)
    assert finder.get_source("_other.wire.a") == "x = 1"
    with pytest.raises(ImportError, match="no module"):
        finder.get_source("_other.none")
    assert marshal.loads(finder.packed()) == {"wire": ("/w.py", True, ""), "wire.a": ("/a.py", False, "x = 1")}


def test_from_its_folder_there_is_nothing_to_carry_on() -> None:
    assert carried.again() == -1
