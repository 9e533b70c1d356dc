"""Promise: a request that is stuck gets 504 at its time, the log says where it stands, and nobody else waits."""

from __future__ import annotations

import os

import pytest

from tests.support.client import request
from tests.support.site import StartSite
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks at processes in /proc")


def stuck(kind: str, more: str = "") -> str:
    return f"""
[app.x]
entry = "stuck_{kind}:application"
root = "APPS"
timeout = "1s"
{more}
[site.a]
hosts = ["a"]
app = "x"
"""


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("wsgi", "/sleep", r"time\.sleep\(600\)"),
        ("wsgi", "/spin", "while True:|pass"),
        ("wsgi", "/lock", r"LOCK\.acquire\(\)"),
        ("wsgi", "/interpreter", r"stuck_wsgi.py\", line \d+ in application"),
        ("wsgi", "/stopped", "is stopped by a signal: nobody can say where it is"),
        ("asgi", "/wait", r"in forever"),
        ("asgi", "/spin", "while True:|pass"),
    ],
)
def test_a_stuck_request_is_told_with_its_stack_and_its_worker_replaced(
    start_site: StartSite, kind: str, path: str, expected: str
) -> None:
    site = start_site(stuck(kind, "workers = 2"))
    site.expect_error("app x")
    before = site.worker_pids("x")
    assert site.get(path).status == 504
    site.wait_line(expected)
    assert [site.get("/").status for _ in range(20)] == [200] * 20
    wait_until(lambda: len(set(before) & set(site.worker_pids("x"))) == 1, "one was replaced")
    wait_until(lambda: [w["state"] for w in site.workers("x")] == ["idle"] * 2, "and two serve")


def test_the_other_requests_of_a_stuck_worker_are_finished_first(start_site: StartSite) -> None:
    site = start_site(stuck("wsgi", "workers = 1\nthreads = 4"))
    site.expect_error("app x")
    (pid,) = site.worker_pids("x")
    with site.connect() as late, site.connect() as other:
        late.send(request("/sleep", "a"))
        wait_until(lambda: site.workers("x")[0]["running"] == 1, "it runs")
        assert other.ask(request("/", "a")).status == 200
        assert late.read_response().status == 504
    wait_until(lambda: pid not in site.worker_pids("x"), "it was killed")
    assert site.get("/").status == 200


def test_the_death_of_a_worker_is_reported_with_what_it_ran(start_site: StartSite) -> None:
    site = start_site(stuck("wsgi", "workers = 1"))
    site.expect_error("app x")
    assert site.post("/segfault", b"x").status == 502
    site.wait_line(r"worker 1 \(pid \d+\) killed by signal 11 \(SIGSEGV\), .* s old, 0 requests served")
    site.wait_line(r"    POST /segfault, ")
    (death,) = site.status()["apps"]["x"]["deaths"]
    assert death["how"] == "killed by signal 11 (SIGSEGV)"
    assert death["running"][0].startswith("POST /segfault, ")
    assert "in application" in death["stack"]
    assert "pyserve/worker" not in death["stack"]
