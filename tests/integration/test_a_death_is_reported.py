"""Promise: a worker that dies unasked leaves one record, in the log and in ``status``: how, what it ran, its stack."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import Site, StartSite
from tests.support.trial import one
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks at processes in /proc")


def app(entry: str, root: object, more: str = "workers = 1") -> str:
    return f"""
[app.x]
entry = "{entry}:application"
root = "{root}"
{more}
[site.a]
hosts = ["a"]
app = "x"
"""


def death(site: Site, name: str = "x") -> dict[str, Any]:
    """Return the newest report of an application when there is one."""
    return dict(wait_until(lambda: (site.status()["apps"][name]["deaths"] or [None])[0], "a report"))


def test_a_crash_is_reported_with_its_stack_and_what_it_ran(start_site: StartSite) -> None:
    site = start_site(app("stuck_wsgi", "APPS"))
    site.expect_error("app x")
    answer = site.post("/segfault", b"x")
    assert answer.status == 502
    site.wait_line(r"worker 1 \(pid \d+\) killed by signal 11 \(SIGSEGV\), .* s old, 0 requests served")
    site.wait_line(r"    POST /segfault, ")
    report = death(site)
    assert report["how"] == "killed by signal 11 (SIGSEGV)"
    (running,) = report["running"]
    match = re.fullmatch(r"POST /segfault, [\d.]+ s, 502 ([0-9a-f]{10})", running)
    assert match is not None, running
    assert match[1] in answer.text
    assert report["memory_peak_bytes"] > 5_000_000
    assert "in application" in report["stack"]
    assert "pyserve/worker" not in report["stack"]


def test_a_kill_from_outside_is_told_as_one_and_each_request_with_what_became_of_it(start_site: StartSite) -> None:
    site = start_site(one("wsgi", "threads = 4"))
    site.expect_error("app wsgi")
    gate = Gate(site.folder)
    with site.connect() as posted, site.connect() as asked:
        posted.send(request(gate.path, "a", "POST", b"x"))
        gate.wait_began()
        began = site.folder / "slow"
        asked.send(request(f"/slow?s=1&began={began}", "a"))
        wait_until(began.exists, "both run")
        site.kill(site.worker_pids("wsgi")[0])
        assert posted.read_response().status == 502
        assert asked.read_response().status == 200
    report = death(site, "wsgi")
    assert report["how"] == "killed by signal 9 (SIGKILL), not by pyserve"
    kinds = [re.sub(r"\?[^,]*|[\d.]+ s, | [0-9a-f]{10}", "", line) for line in report["running"]]
    assert kinds == ["POST /wait, 502", "GET /slow, tried again"]


def test_a_crash_while_it_starts_is_told_with_its_stack(start_site: StartSite, tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text("import ctypes\n\ndef load():\n    ctypes.string_at(0)\n\nload()\n")
    site = start_site(app("crashes", tmp_path))
    site.expect_error("app x")
    site.wait_line(r"killed by signal 11 \(SIGSEGV\) while it started")
    site.wait_line(r"crashes\.py\", line 4 in load")
    assert "in load" in death(site)["stack"]
    site.wait_line("its stack: the same as before")


def test_a_start_that_takes_too_long_is_told_with_the_place(start_site: StartSite, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\n\ndef connect():\n    time.sleep(600)\n\nconnect()\n")
    site = start_site(app("hangs", tmp_path, 'workers = 1\nstartup_timeout = "1s"'))
    site.expect_error("app x")
    site.wait_line(r"not ready within 1 s \(startup_timeout\); killed; it was here:")
    site.wait_line(r"hangs\.py\", line 4 in connect")
    report = death(site)
    assert report["how"] == "killed: not ready within 1 s (startup_timeout)"
    assert "in connect" in report["stack"]
    assert "importlib" not in report["stack"]


def test_a_worker_that_crashes_on_its_way_out_is_reported(start_site: StartSite) -> None:
    site = start_site(app("stuck_wsgi", "APPS", "workers = 1\nthreads = 2\nmax_requests = 2"))
    site.expect_error("app x")
    now = site.folder / "now"
    with site.connect() as client:
        client.send(request(f"/late-segfault?{now}", "a", "POST", b"x"))
        wait_until(lambda: site.workers("x")[0]["running"] == 1, "it runs")
        for _ in range(4):
            site.get("/")
        wait_until(lambda: "draining" in [worker["state"] for worker in site.workers("x")], "it is on its way")
        now.touch()
        assert client.read_response().status == 502
    now.unlink()
    report = death(site)
    assert report["how"] == "killed by signal 11 (SIGSEGV)"
    assert report["running"][0].startswith("POST /late-segfault?")


def test_what_a_child_of_the_application_says_of_its_end_is_not_the_workers(start_site: StartSite) -> None:
    site = start_site(app("stuck_wsgi", "APPS"))
    site.tolerate_error("Fatal Python error")
    assert site.get("/child").status == 200
    site.wait_line("Fatal Python error: Segmentation fault")
    site.kill(site.worker_pids("x")[0])
    assert death(site)["stack"] == ""


def test_an_end_that_was_asked_for_is_no_death(start_site: StartSite) -> None:
    site = start_site(app("stuck_wsgi", "APPS", "workers = 1\nmax_requests = 3"))
    before = site.worker_pids("x")
    for _ in range(10):
        assert site.get("/").status == 200
    wait_until(lambda: not set(before) & set(site.worker_pids("x")), "it was replaced")
    assert site.status()["apps"]["x"]["deaths"] == []


def test_the_kernel_takes_a_worker_before_anybody_else(start_site: StartSite) -> None:
    site = start_site(app("stuck_wsgi", "APPS"))
    (worker,) = site.worker_pids("x")

    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert score(worker) >= 500
    assert max(score(pid) for pid in (site.master_pid, *site.front_pids())) < 500
