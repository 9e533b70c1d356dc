"""What a start must not import: modules that are slow to load and not needed before the first answer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pyserve.config.model import App

# What runs before the first answer -> modules of the standard library that are slow to import and not needed there.
UNNEEDED = {
    "from pyserve.cli.arguments import parse; parse(['run', 'm:app']); import pyserve.cli.run, pyserve.master.main": {
        *("asyncio", "dataclasses", "email", "inspect", "json", "logging", "shutil", "tempfile", "tomllib", "urllib"),
    },
    "import pyserve.front.main": {"dataclasses", "email", "http", "json", "shutil", "tempfile", "tomllib", "urllib"},
    "import pyserve.worker.template": {"asyncio", "dataclasses", "inspect", "json", "logging", "traceback"},
}


@pytest.mark.parametrize("code", UNNEEDED, ids=["master", "front", "template"])
def test_a_start_imports_nothing_slow_that_it_does_not_need(code: str) -> None:
    # -S: what an environment's .pth files import is not ours.
    path = f"import sys; sys.path[:] = {sys.path!r}; "
    command = [sys.executable, "-S", "-c", f"{path}{code}; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) & UNNEEDED[code] == set()


def test_the_environment_of_an_application_is_never_printed() -> None:
    app = App("shop", "shop", "app", "/srv", "/usr/bin/python3", env=(("TOKEN", "secret"),))
    assert "secret" not in repr(app)
    assert repr(app).startswith("App(name='shop', module='shop', ")
    assert repr(app._replace(env=())) == repr(app)
