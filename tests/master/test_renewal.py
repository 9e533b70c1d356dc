"""Renewing an application, against a front and a template that only keep to the contract: new before old."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.config.model import Listener
from tests.support import processes
from tests.support.master_run import MasterRun, app
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks at processes in /proc")


class Renewing(MasterRun):
    def ask(self, command: str) -> socket.socket:
        """Say a line to the admin socket, and do not wait for the answer."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(self.admin_path)
        client.sendall(command.encode() + b"\n")
        return client

    def drained(self) -> list[int]:
        return [row[2] for row in self.heard("WORKER_DRAIN")]

    def templates(self) -> list[int]:
        children = [process for process in self.observe() if process.parent == self.child.pid]
        return [process.pid for process in children if " template " in process.title]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Renewing]]:
    started: list[Renewing] = []
    processes.adopt_orphans()
    try:
        yield started
    finally:
        for run in started:
            run.end_by_force()
            print(*run.lines, sep="\n")


def test_old_workers_go_one_by_one_each_when_its_successor_is_ready(runs: list[Renewing], tmp_path: Path) -> None:
    runs.append(run := Renewing(tmp_path, app("boots", 2)))
    run.wait_ready()
    old = [worker["worker"] for worker in run.wait_workers(2)]
    assert run.admin("renew boots") == b'{"renewed": true}\n'
    # One was proved before the other was ordered.
    wait_until(lambda: sorted(run.drained()) == old, "both are drained")
    assert run.wait_heard("WORKER_ADDED", 4)
    for number in old:
        run.order(f"say WORKER_IDLE {number}")
    wait_until(lambda: [worker["worker"] for worker in run.workers()] == [3, 4], "only the new ones")
    assert run.facts()["apps"][0]["recycled"] == {"renewed": 2}
    assert run.facts()["apps"][0]["restarts"] == 0
    assert run.stop() == 0
    assert not run.survivors()


def test_with_preload_another_template_is_started_and_the_old_one_ends_with_its_workers(
    runs: list[Renewing], tmp_path: Path
) -> None:
    runs.append(run := Renewing(tmp_path, app("boots", preload=True)))
    run.wait_ready()
    (first,) = run.templates()
    assert run.admin("renew-now boots") == b'{"renewed": true}\n'
    assert len(run.templates()) == 2
    assert first in run.templates(), "its worker still runs"
    run.wait_heard("WORKER_DRAIN")
    run.order("say WORKER_IDLE 1")
    wait_until(lambda: len(run.templates()) == 1 and first not in run.templates(), "the old template has gone")
    assert [worker["worker"] for worker in run.wait_workers(1)] == [2]
    assert run.stop() == 0
    assert not run.survivors()


def test_where_nothing_starts_that_is_the_answer(runs: list[Renewing], tmp_path: Path) -> None:
    runs.append(run := Renewing(tmp_path, app("fails"), app("boots")))
    run.wait_ready()
    assert run.admin("renew fails") == b'{"renewed": false, "serves": "nothing"}\n'
    assert run.admin("renew elsewhere") == b'{"error": "there is no app of that name"}\n'
    assert run.stop() == 0


def test_a_renewal_is_overtaken_by_the_next_and_its_worker_goes(runs: list[Renewing], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    runs.append(run := Renewing(tmp_path, app("hangs"), http=(Listener("127.0.0.1", port),)))
    run.port = port  # it never says that it is ready
    run.wait_heard("WORKER_ADDED")
    with run.ask("renew-now hangs") as first:
        run.wait_heard("WORKER_ADDED", 2)
        assert run.drained() == [1], "it boots with older code"
        with run.ask("renew-now hangs") as second:
            run.wait_heard("WORKER_ADDED", 3)
            assert b'"renewed": false' in first.recv(1000)
            run.order("say WORKER_IDLE 1")
            run.order("say WORKER_IDLE 2")
            wait_until(lambda: [worker["worker"] for worker in run.workers()] == [3], "the latest alone")
            assert run.facts()["apps"][0]["restarts"] == 0
            run.terminate()
            assert b'"renewed": false' in second.recv(1000)
    assert run.wait_exit() == 0
    assert not run.survivors()
