"""Promise: a health path is answered when all workers are busy and the queue is full, within the queue's time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import trial
from tests.support.client import Client, request
from tests.support.gate import Gate
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

QUEUE = 'health = ["/hello"]\nqueue = { size = 1, timeout = "20s" }'


def fill(site: Site, app: str, running: int) -> tuple[Gate, list[Client]]:
    """Occupy everything that others than health paths may have, and the queue."""
    gate = Gate(site.folder)
    clients: list[Client] = []

    def add() -> None:
        clients.append(site.connect())
        clients[-1].send(request(gate.path, "a"))

    for count in range(1, running + 1):
        add()
        gate.wait_began(count)
    add()
    wait_until(lambda: site.status()["apps"][app]["queue"] == 1, "one waits")
    return gate, clients


def finish(gate: Gate, clients: list[Client]) -> None:
    gate.open()
    for client in clients:
        assert client.read_response().status == 200


@pytest.mark.parametrize(
    ("kind", "more", "running"),
    [("wsgi", "threads = 2", 2), ("asgi", "concurrency = 2", 2)],
)
@pytest.mark.parametrize("fronts", [1, 2])
def test_where_a_worker_runs_several_at_once_a_place_is_kept(
    start_site: StartSite, kind: str, more: str, running: int, fronts: int
) -> None:
    site = start_site(trial.one(kind, f"{more}\n{QUEUE}"), fronts=fronts)
    gate, clients = fill(site, kind, running)
    for _ in range(5):
        assert site.get("/hello").status == 200
    assert len(gate.began()) == running, "the place is kept for health paths alone"
    finish(gate, clients)


@pytest.mark.parametrize("fronts", [1, 2])
def test_in_a_worker_that_runs_one_at_a_time_it_comes_next(start_site: StartSite, fronts: int) -> None:
    site = start_site(trial.one("wsgi", QUEUE), fronts=fronts)
    gate, clients = fill(site, "wsgi", 1)
    with site.connect() as prober:
        prober.send(request("/hello", "a"))
        wait_until(lambda: site.status()["apps"]["wsgi"]["queue"] == 2, "it waits beside the one of the full queue")
        finish(gate, clients)
        assert prober.read_response().status == 200


def test_where_nothing_moves_it_is_503_in_time(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", QUEUE.replace("20s", "300ms")))
    site.expect_error("503 GET /hello: app wsgi: no worker was free in time")
    gate = Gate(site.folder)
    with site.connect() as busy:
        busy.send(request(gate.path, "a"))
        gate.wait_began()
        answer = site.get("/hello")
        assert (answer.status, answer.field("retry-after")) == (503, "1")
        finish(gate, [busy])


def test_a_request_that_kills_its_worker_costs_two_of_them(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(trial.one("wsgi", workers=2))
    site.expect_error("502 GET /die: .* it had been tried again already")
    site.tolerate_error("exited with status 7")
    before = set(site.worker_pids("wsgi"))
    assert site.get("/die").status == 502
    wait_until(lambda: len(set(site.worker_pids("wsgi")) - before) == 2, "both are replaced")
    assert site.status()["apps"]["wsgi"]["restarts"] == 2
    assert site.get("/hello").status == 200
