"""Promise: with ``fronts`` > 1 everything works as with one."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.load import Load
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_load_over_many_connections_is_answered(start_site: StartSite, kind: str) -> None:
    site = start_site(trial.one(kind, workers=2), fronts=2)
    with Load(site.address, request("/hello", "a"), clients=16) as load:
        load.wait_answers(2000)
    assert load.ledger.statuses().keys() == {200}
    assert not load.ledger.lost
    answers = len(load.ledger.answers)
    wait_until(lambda: sum(worker["requests"] for worker in site.workers(kind)) == answers, f"{answers} are counted")


def test_a_busy_worker_sends_the_request_back_to_the_queue(start_site: StartSite) -> None:
    """One worker, two fronts: whichever front asks second has to wait, and nobody is refused."""
    site = start_site(trial.one("wsgi"), fronts=2)
    gate = Gate(site.folder)
    held = site.connect()
    held.send(request(gate.path, "a"))
    gate.wait_began()
    waiting = [site.connect() for _ in range(12)]
    for client in waiting:
        client.send(request("/hello", "a"))
    wait_until(lambda: site.status()["apps"]["wsgi"]["queue"] >= 1, "requests wait")
    gate.open()
    assert held.read_response().text == "waited"
    for client in [*waiting, held]:
        if client is not held:
            assert client.read_response().status == 200
        client.close()


def test_the_connections_of_all_fronts_are_counted(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), fronts=2)
    clients = [site.connect() for _ in range(60)]
    for client in clients:
        assert client.get("/hello").status == 200
    wait_until(lambda: connections(site) == 60, "60 connections")
    for client in clients:
        client.close()
    wait_until(lambda: connections(site) == 0, "no connection left")


def connections(site: Site) -> int:
    """Figures of the fronts are a moment old."""
    return sum(front["connections"] for front in site.status()["fronts"])
