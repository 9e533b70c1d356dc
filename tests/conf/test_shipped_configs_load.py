"""Every config that is shipped is well formed, and the demo has everything that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.config import load

CONF = Path(__file__).resolve().parents[2] / "conf"
CONFIGS = sorted(CONF.glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.name for path in CONFIGS])
def test_a_shipped_config_loads(path: Path) -> None:
    assert load.load([str(path)]).sites


def test_nothing_that_the_demo_names_is_missing() -> None:
    config = load.load([str(CONF / "site.toml")])
    assert config.surroundings == ()
    assert [site.hosts for site in config.sites] == [("a-site.localhost",), ("b-site.localhost",)]
    assert not any(site.default for site in config.sites)
