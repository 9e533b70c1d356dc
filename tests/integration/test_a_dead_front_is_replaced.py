"""Promise: after the death of a front, the site is served again within a moment, by the same workers."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import Closed, request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


def is_served(site: Site) -> bool:
    try:
        return site.get("/hello").status == 200
    except (OSError, Closed):
        return False


@pytest.mark.parametrize("fronts", [1, 2])
def test_kill_9_of_a_front(start_site: StartSite, fronts: int) -> None:
    site = start_site(trial.one("wsgi", workers=2), fronts=fronts)
    site.expect_error("front")
    workers = site.worker_pids("wsgi")
    killed = site.front_pids()[0]
    site.kill(killed)
    wait_until(lambda: is_served(site), "served again")
    wait_until(lambda: len(site.front_pids()) == fronts and killed not in site.front_pids(), "as many fronts as before")
    assert site.worker_pids("wsgi") == workers
    with site.connect() as client:
        for _ in range(20):
            assert client.get("/hello").status == 200


def test_a_request_that_ran_for_a_dead_front_blocks_nothing(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"))
    site.expect_error("front")
    with site.same_workers("asgi"):
        for _ in range(3):
            killed = site.front_pids()[0]
            with site.connect() as client:
                client.send(request("/slow?s=0.3", "a"))
                wait_until(lambda: site.workers("asgi")[0]["running"] == 1, "the request runs")
                site.kill(killed)
            wait_until(lambda: is_served(site), "served again")
        wait_until(lambda: site.workers("asgi")[0]["running"] == 0, "nothing runs any more")
