"""Promise: ``workers = { min, max, idle }`` starts workers when requests wait and gives them up when they are idle."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


def scaled(kind: str, least: int, most: int, idle: str, more: str = "") -> str:
    """One trial application whose number of workers follows the load."""
    text = trial.one(kind, more)
    return text.replace("workers = 1", f'workers = {{ min = {least}, max = {most}, idle = "{idle}" }}')


def told(site: Site, app: str) -> dict[str, Any]:
    found: dict[str, Any] = site.status()["apps"][app]
    return found


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("fronts", [1, 2])
def test_waiting_requests_start_workers_until_there_are_enough(start_site: StartSite, kind: str, fronts: int) -> None:
    site = start_site(scaled(kind, 1, 4, "60s", "preload = true\nconcurrency = 1"), fronts=fronts)
    assert len(site.workers(kind)) == 1
    gate = Gate(site.folder)
    clients = [site.connect() for _ in range(3)]
    for client in clients:
        client.send(request(gate.path, "a"))
    assert len(set(gate.wait_began(3))) == 3, "each has a worker to itself"
    assert len(site.workers(kind)) in (3, 4)
    gate.open()
    assert [client.read_response().status for client in clients] == [200] * 3


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("preload", ["preload = true", ""])
def test_an_application_sleeps_until_it_is_asked_and_again_when_it_is_not(
    start_site: StartSite, kind: str, preload: str
) -> None:
    site = start_site(scaled(kind, 0, 2, "1s", preload))
    assert site.workers(kind) == []
    assert site.get("/hello").status == 200, "it waited for the boot"
    assert len(site.workers(kind)) == 1
    wait_until(lambda: not site.workers(kind), "it sleeps again", 20)
    wait_until(lambda: not [p for p in site.observe() if "template" in p.title], "with its template")
    assert site.get("/hello").status == 200


def test_nobody_is_lost_while_workers_come_and_go(start_site: StartSite) -> None:
    site = start_site(scaled("wsgi", 1, 4, "500ms", "preload = true"))
    for _ in range(3):
        clients = [site.connect() for _ in range(12)]
        for client in clients:
            client.send(request("/slow?s=0.1", "a"))
        assert [client.read_response().status for client in clients] == [200] * 12
        for client in clients:
            client.close()
        wait_until(lambda: len(site.workers("wsgi")) == 1, "one is left", 20)
    assert told(site, "wsgi")["restarts"] == 0


def test_an_application_that_can_t_start_is_tried_again_when_it_is_asked_for(start_site: StartSite) -> None:
    text = scaled("wsgi", 0, 2, "60s").replace("trial_wsgi:application", "comes_later:application")
    site = start_site(text.replace('"APPS"', '"."'))
    site.expect_error("comes_later|could not start|app wsgi")
    assert site.get("/").status == 503
    assert "comes_later" in told(site, "wsgi")["reason"]
    (site.folder / "comes_later.py").write_text(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'here']\n"
    )
    wait_until(lambda: site.get("/").text == "here", "it serves", 20)
    (site.folder / "comes_later.py").unlink()


def test_memory_is_given_up_by_who_does_not_need_it(start_site: StartSite) -> None:
    """Two applications, and a budget in which one worker that keeps 60 MiB leaves room for few others."""
    text = (
        trial.app("wsgi", "preload = true", name="big")
        + trial.app("wsgi", "preload = true", name="small")
        + '[site.a]\nhosts = ["a"]\napp = "big"\n[site.b]\nhosts = ["b"]\napp = "small"\n'
    )
    text = text.replace("workers = 1", 'workers = { min = 1, max = 3, idle = "1h" }')
    site = start_site(text, server='memory = "100MiB"')
    site.tolerate_error("memory: applications take")
    gate = Gate(site.folder)
    clients = [site.connect() for _ in range(3)]
    for client in clients:
        client.send(request(gate.path, "b"))
    gate.wait_began(3)
    gate.open()
    assert [client.read_response().status for client in clients] == [200] * 3
    assert len(site.workers("small")) == 3
    assert site.get(f"/keep?bytes={90 << 20}").status == 200
    wait_until(lambda: len(site.workers("small")) == 1, "the idle ones have gone", 20)
    assert len(site.workers("big")) == 1
