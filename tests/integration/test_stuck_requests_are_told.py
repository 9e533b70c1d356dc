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


def test_a_thread_that_keeps_the_interpreter_is_shown_and_the_idle_ones_are_not(start_site: StartSite) -> None:
    site = start_site(stuck("wsgi", "workers = 1\nthreads = 4"))
    site.expect_error("app x")
    answer = site.get("/interpreter")
    assert answer.status == 504
    line = site.wait_line(r"does not let go of the interpreter; it has GET /interpreter [0-9a-f]{10}; its threads:")
    incident = line.partition("GET /interpreter ")[2].partition(";")[0]
    assert incident in answer.text
    site.wait_line(r"stuck_wsgi.py\", line \d+ in application")
    assert sum("Thread 0x" in line or "thread 0x" in line for line in site.lines) == 1


def test_the_thread_that_an_asgi_request_waits_for_is_told(start_site: StartSite) -> None:
    site = start_site(stuck("asgi", "workers = 1"))
    site.expect_error("app x")
    assert site.get("/thread").status == 504
    site.wait_line(r"await asyncio\.to_thread\(in_a_thread\)")
    site.wait_line(r"time\.sleep\(600\)")


def test_a_request_whose_client_did_not_wait_is_told_all_the_same(start_site: StartSite) -> None:
    site = start_site(stuck("wsgi", "workers = 1"))
    with site.connect() as client:
        client.send(request("/sleep", "a"))
        wait_until(lambda: site.workers("x")[0]["running"] == 1, "it runs")
        client.reset()
    site.wait_line(r"GET /sleep: app x: worker 1 \(pid \d+\) gave no answer within 1 s \(from 127\.0\.0\.1, ")
    site.wait_line(r"time\.sleep\(600\)")
