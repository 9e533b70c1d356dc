"""Every promise is tried on real processes, which are watched through /proc."""

from __future__ import annotations

import pytest

from tests.support import processes, tools

# The four ways to read HTTP/1; key promises hold for each.
VARIANTS = [
    pytest.param({"parser": parser, "loop": loop}, id=f"{parser}-{loop}")
    for parser in ("httptools", "h11")
    for loop in ("uvloop", "asyncio")
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", VARIANTS)


@pytest.fixture(scope="session", autouse=True)
def _orphans_are_ours() -> None:
    if not tools.why_missing("linux")[0]:
        processes.adopt_orphans()


@pytest.fixture(autouse=True)
def _needs_proc() -> None:
    reason, is_installable = tools.why_missing("linux")
    if reason:
        tools.not_run(reason, installable=is_installable)
