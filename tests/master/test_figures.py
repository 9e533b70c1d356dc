"""What the system tells of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pyserve.master import figures
from pyserve.master.figures import OOM_LOOK_S, OomKills

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks at processes in /proc")


def test_a_kill_for_want_of_memory_explains_one_death_of_the_last_seconds() -> None:
    count = 7
    kills = OomKills(lambda: count)
    kills.look(0.0)
    assert not kills.explain(), "those were before our time"
    count = 9
    kills.look(OOM_LOOK_S)
    assert [kills.explain(), kills.explain(), kills.explain()] == [True, True, False]


def test_a_kill_of_long_ago_explains_nothing() -> None:
    count = 0
    kills = OomKills(lambda: count)
    kills.look(100.0)
    count = 1
    kills.look(100.0 + OOM_LOOK_S)
    kills.look(100.0 + 2 * OOM_LOOK_S)
    assert not kills.explain()


def test_who_looks_more_often_than_is_asked_loses_no_kill() -> None:
    count = 0
    kills = OomKills(lambda: count)
    kills.look(100.0)
    count = 1
    for step in range(10):
        kills.look(100.0 + step * OOM_LOOK_S / 100)
    assert kills.explain()


def test_only_a_process_that_handles_a_signal_is_said_to_catch_it() -> None:
    program = "import signal; signal.signal(10, lambda *_: None); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert figures.catches(process.pid, 10)
        assert not figures.catches(process.pid, 12)
        assert not figures.is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert figures.is_stopped(process.pid)
        process.kill()
    assert not figures.catches(process.pid, 10)
