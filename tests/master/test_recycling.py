"""Figures of a worker: has it to go?"""

from __future__ import annotations

import pytest

from pyserve.config.model import Recycling
from pyserve.master.recycling import JITTER, due, limits_of_one

MIB = 1 << 20
LIMITS = Recycling(1000, 3600.0, 400 * MIB, 600 * MIB)


@pytest.mark.parametrize(
    ("served", "age_s", "mebibytes", "expected"),
    [
        (999, 3599.0, 399, None),
        (1000, 0.0, 0, ("max_requests", False, False)),
        (0, 3600.0, 0, ("max_age", False, False)),
        (0, 0.0, 400, ("max_memory", False, False)),
        (5000, 9999.0, 500, ("max_memory", True, False)),
        (5000, 9999.0, 600, ("max_memory", False, True)),
    ],
    ids=["it may stay", "requests", "age", "soft memory", "half way to the hard limit", "hard memory"],
)
def test_who_has_to_go(served: int, age_s: float, mebibytes: int, expected: tuple[str, bool, bool] | None) -> None:
    found = due(LIMITS, served, age_s, mebibytes * MIB)
    assert (found and (found.kind, found.is_urgent, found.is_fatal)) == expected


def test_without_limits_nobody_has_to_go() -> None:
    assert due(Recycling(), 10**9, 10**9, 10**15) is None


def test_a_hard_limit_alone_kills_and_a_soft_one_alone_replaces() -> None:
    assert due(Recycling(hard_memory_bytes=MIB), 0, 0.0, MIB - 1) is None
    assert due(Recycling(hard_memory_bytes=MIB), 0, 0.0, MIB) is not None


def test_each_worker_has_limits_of_its_own_a_little_below() -> None:
    assert limits_of_one(LIMITS, 0.0) == LIMITS
    assert limits_of_one(LIMITS, 1.0) == LIMITS._replace(max_requests=900, max_age_s=3600.0 * (1 - JITTER))
    assert limits_of_one(Recycling(1), 1.0).max_requests == 1
    assert limits_of_one(Recycling(), 1.0) == Recycling()
