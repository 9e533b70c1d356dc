"""Promise: kill -9 of the master, and after the grace time no process is left; requests that run may finish."""

from __future__ import annotations

import signal

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import StartSite
from tests.support.waiting import wait_until


@pytest.mark.parametrize("fronts", [1, 2])
def test_kill_9_of_the_master(start_site: StartSite, fronts: int) -> None:
    site = start_site(trial.both(), fronts=fronts, server='graceful_timeout = "3s"')
    site.expect_error("master")
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "w"))
        gate.wait_began()
        site.kill(site.child.pid)
        assert site.child.wait(10) == -signal.SIGKILL
        gate.open()
        assert client.read_response().text == "waited"
    wait_until(lambda: not site.survivors(), "every process has ended")


def test_what_waits_for_a_worker_that_will_never_be_started_is_told_so(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"), server='graceful_timeout = "60s"')
    site.expect_error("master")
    site.tolerate_error("503")
    gate = Gate(site.folder)
    with site.connect() as held, site.connect() as waiting:
        held.send(request(gate.path, "a"))
        gate.wait_began()
        waiting.send(request("/hello", "a"))
        wait_until(lambda: site.status()["apps"]["wsgi"]["queue"] == 1, "a request waits")
        site.kill(site.child.pid)
        site.child.wait(10)
        site.wait_line("the master is gone")
        gate.open()
        assert held.read_response().status == 200
        answer = waiting.read_response()
        # The worker may still have taken it, or has ended without it: but nobody is left hanging.
        assert answer.status in (200, 503)
    wait_until(lambda: not site.survivors(), "every process has ended")


def test_a_request_that_never_ends_is_ended_after_the_grace_time(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"), server='graceful_timeout = "1s"')
    site.expect_error("master")
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "a"))
        gate.wait_began()
        site.kill(site.child.pid)
        wait_until(lambda: not site.survivors(), "every process has ended", 15)


def test_the_next_server_takes_the_place_of_a_dead_one(start_site: StartSite) -> None:
    first = start_site(trial.one("wsgi"))
    first.expect_error("master")
    first.kill(first.child.pid)
    wait_until(lambda: not first.survivors(), "every process has ended")
    second = start_site(trial.one("wsgi"), http=f'"127.0.0.1:{first.address[1]}"', folder=first.folder)
    assert second.get("/hello").status == 200
    assert second.status()["master"]["pid"] == second.child.pid
