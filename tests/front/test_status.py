"""What ``status`` makes of the facts that the master tells."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyserve.config.model import Config, Server, Site
from pyserve.front.status import describe
from pyserve.wire.board import Board

DAY_S = 86400.0


def certificate_facts(begin_days: float, end_days: float, **more: str) -> dict[str, Any]:
    """Dates in days from now."""
    now = time.time()
    dates = {"not_before_s": now + begin_days * DAY_S, "not_after_s": now + end_days * DAY_S}
    return {"site": "a", "facts": '{"names": ["a.test"]}', **dates, "not_for": "", "fault": "", **more}


def described(told: dict[str, Any]) -> dict[str, Any]:
    facts = {
        "master": {"pid": 0, "started_s": 0.0},
        "generation": 1,
        "fronts": [],
        "apps": [],
        "certificates": [told],
    }
    config = Config(Server((), ""), sites=(Site("a", ("a.test",)),))
    return describe(facts, config, [], Board(memoryview(bytearray(Board.size_bytes(1, 0, 0))), 1, 0, 0))


@pytest.mark.parametrize(("end_days", "days_left"), [(10.5, 10), (0.5, 0), (-0.5, 0), (-1.5, -1), (-10.5, -10)])
def test_days_of_a_certificate_are_counted_as_the_log_counts_them(end_days: float, days_left: int) -> None:
    status = described(certificate_facts(-30, end_days))
    assert status["certificates"]["a"]["days_left"] == days_left
    assert (status["sites"]["a"]["state"] == "degraded") == (end_days < 0)


@pytest.mark.parametrize(
    ("told", "state", "reason"),
    [
        (certificate_facts(-1, 80), "serving", ""),
        (certificate_facts(-90, -0.1), "degraded", "its certificate has expired"),
        (certificate_facts(1, 80), "degraded", "its certificate is not valid before 20"),
        (certificate_facts(-1, 80, not_for="is for b, not for a"), "serving", "its certificate is for b, not for a"),
        (certificate_facts(-1, 80, fault="cut"), "degraded", "its new certificate was not taken: cut"),
        ({"site": "a", "facts": "", "fault": "cut"}, "degraded", "refused on https: cut"),
    ],
)
def test_a_site_is_as_good_as_its_certificate(told: dict[str, Any], state: str, reason: str) -> None:
    site = described(told)["sites"]["a"]
    assert site["state"] == state
    assert site["reason"].startswith(reason)
    assert bool(site["reason"]) == bool(reason)
