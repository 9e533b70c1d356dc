"""Promise: whatever an application does (hang, compute for ever, stop, die while it starts), others serve on."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.site import StartSite
from tests.support.waiting import wait_until

WAYS = [
    *[("wsgi", how) for how in ("sleep", "spin", "lock", "stop")],
    *[("asgi", how) for how in ("await", "sleep", "spin", "stop")],
]


@pytest.mark.parametrize(("kind", "how"), WAYS, ids=[f"{kind}-{how}" for kind, how in WAYS])
def test_a_request_that_hangs_costs_itself_and_its_worker(start_site: StartSite, kind: str, how: str) -> None:
    site = start_site(
        trial.app(kind, 'timeout = "1s"', name="sick", workers=2)
        + trial.app("wsgi", name="well")
        + '[site.a]\nhosts = ["a"]\napp = "sick"\n\n[site.b]\nhosts = ["b"]\napp = "well"\n'
    )
    site.expect_error("504")
    site.tolerate_error("worker")
    before = site.worker_pids("sick")
    well = site.worker_pids("well")
    with site.connect() as client:
        client.send(request(f"/hang?how={how}", "a", "POST", b"x"))
        wait_until(lambda: any(worker["running"] for worker in site.workers("sick")), "it runs")
        # The other worker of the same application, and the other application.
        assert site.get("/hello").status == 200
        assert site.get("/hello", "b").status == 200
        assert client.read_response().status == 504
    wait_until(lambda: len(set(site.worker_pids("sick")) & set(before)) == 1, "the hung worker is gone, the other not")
    assert site.get("/hello").status == 200
    assert site.worker_pids("well") == well


def test_all_workers_of_one_application_may_hang(start_site: StartSite) -> None:
    site = start_site(
        trial.app("wsgi", 'timeout = "30s"\nqueue = { size = 1, timeout = "30s" }', name="sick")
        + trial.app("asgi", name="well")
        + '[site.a]\nhosts = ["a"]\napp = "sick"\n\n[site.b]\nhosts = ["b"]\napp = "well"\n',
        server='graceful_timeout = "1s"',
    )
    site.tolerate_error("503|worker|cut|killed")
    with site.connect() as held, site.connect() as waiting:
        held.send(request("/hang?how=sleep", "a", "POST", b"x"))
        wait_until(lambda: site.workers("sick")[0]["running"] == 1, "its only worker hangs")
        waiting.send(request("/hello", "a"))
        wait_until(lambda: site.status()["apps"]["sick"]["queue"] == 1, "its queue is full")
        assert site.get("/hello").status == 503
        for _ in range(20):
            assert site.get("/hello", "b").status == 200


@pytest.mark.parametrize("source", ["import os; os._exit(1)", "import ctypes; ctypes.string_at(0)"])
def test_an_application_that_dies_while_it_starts(start_site: StartSite, source: str, tmp_path: object) -> None:
    folder = tmp_path / "apps"  # type: ignore[operator]
    folder.mkdir()
    (folder / "dying.py").write_text(source)
    site = start_site(
        f'[app.sick]\nentry = "dying:application"\nroot = "{folder}"\nworkers = 2\n'
        + trial.app("wsgi", name="well")
        + '[site.a]\nhosts = ["a"]\napp = "sick"\n\n[site.b]\nhosts = ["b"]\napp = "well"\n'
    )
    site.expect_error("sick")
    site.tolerate_error("Fatal Python error")  # the interpreter's own last words
    # Several times: it is tried again with growing pauses.
    wait_until(lambda: sum("while it started" in line for line in site.lines) >= 3, "it was tried again")
    status = site.status()
    assert "while it started" in status["apps"]["sick"]["reason"]
    assert status["sites"]["a"]["state"] == "degraded"
    assert site.get("/hello").status == 503
    assert site.get("/hello", "b").status == 200
