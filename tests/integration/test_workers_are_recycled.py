"""Promise: workers that have served enough, are old or take too much memory are replaced, and nobody notices."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.load import Load
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


def recycled(site: Site, kind: str, why: str) -> int:
    return int(site.status()["apps"][kind]["recycled"].get(why, 0))


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("max_requests = 200", "max_requests"),
        ('max_age = "1s"', "max_age"),
        ('max_memory = { soft = "1MiB", hard = "1GiB" }', "max_memory"),
    ],
    ids=["by requests", "by age", "by memory"],
)
def test_no_request_is_lost_when_workers_are_replaced(start_site: StartSite, kind: str, key: str, why: str) -> None:
    site = start_site(trial.one(kind, f"preload = true\n{key}", workers=2))
    with Load(site.address, request("/pid", "a")) as load:
        wait_until(lambda: recycled(site, kind, why) >= 4, "four were replaced", 30)
    assert not load.ledger.lost
    assert set(load.ledger.statuses()) == {200}
    assert len({answer.text for answer in load.ledger.answers}) >= 4, "so many workers have answered"


def test_a_request_that_runs_when_its_worker_is_due_is_finished_there(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", 'max_age = "1s"'))
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "a"))
        (pid,) = gate.wait_began()
        wait_until(lambda: recycled(site, "wsgi", "max_age") >= 1, "it is due")
        other = wait_until(lambda: site.get("/pid").text, "another one answers")
        assert int(other) != pid
        gate.open()
        assert client.read_response().status == 200


def test_a_worker_beyond_the_hard_limit_is_killed_and_the_others_go_on(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", 'preload = true\nmax_memory = { hard = "64MiB" }', workers=2))
    site.expect_error("max_memory")
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "a"))
        (pid,) = gate.wait_began()
        # It may be killed before it has answered, and a POST is not tried again.
        assert site.post(f"/keep?bytes={100 << 20}", b"x").status in (200, 502)
        wait_until(lambda: recycled(site, "wsgi", "max_memory") == 1, "one was killed")
        wait_until(lambda: len([w for w in site.workers("wsgi") if w["state"] != "booting"]) == 2, "and replaced")
        gate.open()
        assert client.read_response().status == 200
    assert pid in site.worker_pids("wsgi")


def test_an_application_that_leaks_stays_below_its_limit(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi", 'preload = true\nmax_memory = { soft = "40MiB", hard = "120MiB" }', workers=2))
    most = 0
    with Load(site.address, request(f"/keep?bytes={1 << 18}", "a"), clients=2) as load:

        def replaced() -> bool:
            nonlocal most
            most = max([most, *(worker["memory_bytes"] for worker in site.workers("asgi"))])
            return recycled(site, "asgi", "max_memory") >= 5

        wait_until(replaced, "five were replaced", 40)
    assert not load.ledger.lost
    assert set(load.ledger.statuses()) == {200}
    assert most < 120 << 20
