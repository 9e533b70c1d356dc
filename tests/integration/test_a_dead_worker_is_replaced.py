"""Promise: a worker may die at any time; another takes its place and no request that had not begun is lost."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.load import Load
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


def wait_workers(site: Site, app: str, count: int, without: list[int]) -> list[int]:
    """Wait until so many workers take requests, none of them one of those that died."""

    def ready() -> list[int]:
        pids = [worker["pid"] for worker in site.workers(app) if worker["state"] in ("idle", "busy")]
        return pids if len(pids) == count and not set(pids) & set(without) else []

    return wait_until(ready, f"{count} ready workers of {app}")


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_kill_9_under_load_costs_only_what_had_begun(start_site: StartSite, kind: str) -> None:
    site = start_site(trial.one(kind, workers=2))
    site.expect_error("worker")
    with Load(site.address, request("/pid", "a")) as load:
        load.wait_answers(200)
        killed = []
        for _ in range(3):
            pid = site.worker_pids(kind)[0]
            site.kill(pid)
            killed.append(pid)
            wait_workers(site, kind, 2, killed)
            load.wait_answers(100)
    # A GET that had begun and not answered a byte may be tried once more or be told 502; every one gets an answer.
    assert not load.ledger.lost
    assert set(load.ledger.statuses()) <= {200, 502}
    # At each death at most what the one worker really ran: its calls, and what it had finished and not yet sent.
    assert load.ledger.statuses().get(502, 0) <= 3 * 4


def test_all_workers_may_die_at_once_and_again(start_site: StartSite) -> None:
    """Requests wait for the new ones; none is refused, whatever happened before."""
    site = start_site(trial.one("wsgi", workers=2))
    site.expect_error("worker")
    killed: list[int] = []
    for _ in range(3):
        pids = wait_workers(site, "wsgi", 2, killed)
        for pid in pids:
            site.kill(pid)
        killed += pids
        assert site.get("/hello").status == 200
    wait_workers(site, "wsgi", 2, killed)


def test_a_waiting_request_survives_the_death_of_the_only_worker(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    site.expect_error("worker")
    gate = Gate(site.folder)
    with site.connect() as held, site.connect() as waiting, site.connect() as posted:
        # A POST, because a GET would be tried again on the next worker, and hold that one.
        held.send(request(gate.path, "a", "POST", b"x"))
        (pid,) = gate.wait_began()
        waiting.send(request("/pid", "a"))
        posted.send(request("/echo", "a", "POST", b"not lost"))
        wait_until(lambda: site.status()["apps"]["wsgi"]["queue"] >= 1, "a request waits")
        site.kill(pid)
        answer = waiting.read_response()
        assert answer.status == 200
        assert int(answer.text) != pid
        assert posted.read_response().body == b"not lost"
        assert held.read_response().status == 502
    assert gate.began() == [pid]


def test_a_post_that_had_begun_is_never_run_twice(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    site.expect_error("worker")
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "a", "POST", b"pay"))
        (pid,) = gate.wait_began()
        site.kill(pid)
        assert client.read_response().status == 502
    assert site.get("/hello").status == 200
    assert gate.began() == [pid]


def test_an_application_that_exits_is_replaced(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    site.expect_error("worker")
    before = site.worker_pids("wsgi")
    assert site.post("/die", b"x").status == 502
    assert site.get("/hello").status == 200
    assert site.worker_pids("wsgi") != before


def test_a_template_may_die_and_costs_no_worker(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", workers=2))
    site.expect_error("template|worker")
    workers = site.worker_pids("wsgi")
    templates = [p for p in site.observe() if p.pid not in workers and p.pid not in site.front_pids()]
    templates = [p for p in templates if p.pid != site.master_pid]
    assert len(templates) == 1
    site.kill(templates[0].pid)
    wait_until(lambda: not templates[0].is_alive, "the template is dead")
    assert site.get("/hello").status == 200
    assert site.worker_pids("wsgi") == workers
    # The adopted ones are healed as before.
    site.kill(workers[0])
    wait_workers(site, "wsgi", 2, [workers[0]])
    assert site.get("/hello").status == 200
