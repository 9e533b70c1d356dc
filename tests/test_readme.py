"""README.md is true: its files are accepted, its tables name the keys that exist, its example runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pyserve.config import acme, apps, decode, sites, tls
from pyserve.config.load import from_tree

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """Return the text from a heading to the next one."""
    return README.split(f"### {title}\n")[1].split("\n##")[0]


def keys_of_table(text: str) -> set[str]:
    """Return the names in the first column; one cell may hold several."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([a-z0-9_]+)`", cell)}


def test_there_are_examples_to_check() -> None:
    assert len(blocks("toml")) == 9
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_config_example_is_accepted(text: str) -> None:
    # Only form: what the examples name does not exist here. Some show one table and mean the rest as it was.
    tree = tomllib.loads(text)
    tree.setdefault("site", {"any": {"default": True, "respond": {"body": ""}}})
    assert from_tree(tree).sites


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("`[server]`", set(decode._SERVER) - {"limits"}),
        ("`[server.limits]`", set(decode._LIMITS)),
        ("`[log]`", set(decode._LOG)),
        ("`[app.NAME]`", set(apps.KEYS)),
        ("https", set(tls.TLS_KEYS)),
        ("Certificates by themselves", set(acme.KEYS)),
        ("`[site.NAME]` and `[[site.NAME.route]]`", set(sites._SITE_KEYS | sites._ROUTE_KEYS)),
    ],
)
def test_the_reference_names_every_key_and_no_other(title: str, keys: set[str]) -> None:
    assert keys_of_table(section(title)) == keys


def test_the_pytest_example_runs(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(blocks("python")[0])
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stdout
    assert "1 passed" in answer.stdout


def test_files_that_are_linked_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
