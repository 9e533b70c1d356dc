"""Promise: signals may come in any number and order; the server serves on, or stops once and says 0."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.support import processes, trial
from tests.support.client import request
from tests.support.load import Load
from tests.support.site import StartSite
from tests.support.waiting import wait_until

HARMLESS = (signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH, signal.SIGPIPE)
AS_PID_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def test_a_storm_of_signals_costs_no_request(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", workers=2))
    before = site.front_pids(), site.worker_pids("wsgi")
    with Load(site.address, request("/hello", "a")) as load:
        for number in range(300):
            site.child.send_signal(HARMLESS[number % len(HARMLESS)])
        load.wait_answers(200)
    assert not load.ledger.lost
    assert set(load.ledger.statuses()) == {200}
    assert (site.front_pids(), site.worker_pids("wsgi")) == before


def test_who_is_asked_to_stop_again_and_again_still_says_0(start_site: StartSite) -> None:
    """Also in the last moments, when nothing is left but the interpreter's own end."""
    site = start_site(trial.one("wsgi"))
    site.observe()
    while site.child.poll() is None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            site.child.send_signal(number)
    assert site.child.returncode == 0
    assert sum("stopping:" in line for line in site.lines) <= 1


def test_as_pid_1_it_waits_for_orphans_that_are_none_of_its_own(start_site: StartSite) -> None:
    try:
        answer = subprocess.run([*AS_PID_1, "true"], capture_output=True, check=False, timeout=20)
    except OSError:
        pytest.skip("NOT RUN: there is no unshare")
    if answer.returncode:
        pytest.skip("NOT RUN: a PID namespace can't be made here")
    site = start_site(trial.one("wsgi"), under=AS_PID_1)
    master = processes.descendants(site.child.pid)[0].pid
    workers = site.worker_pids("wsgi")
    assert site.master_pid == 1
    for code in (3, 4):  # what worker processes of other servers mean something by
        assert site.post(f"/orphan?code={code}", b"").status == 200
    wait_until(lambda: not [p for p in processes.descendants(master) if p.is_zombie], "no zombie is left")
    assert site.worker_pids("wsgi") == workers
    site.observe()
    os.kill(master, signal.SIGTERM)
    assert site.wait_exit() == 0
