"""R3: kill -9 of all workers at once, 5 times.

Requests wait until new workers are there, and are served then: no refused connection, no 503, no failed GET, and only
those POST requests fail (502) that had begun.
"""

from __future__ import annotations

import os
import signal
import time

from tests.reliability import ledger
from tests.reliability.calls import Calls
from tests.reliability.checks.killed_workers import RESPAWN_S, WORKERS, Kill, judge, ready_pids, stage_with_calls
from tests.reliability.figures import Figure, at_most
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, say

ROUNDS = 5
PAUSE_S = 4.0


def kill_all(stage: Stage) -> list[Kill]:
    """Kill every worker of both applications and wait until there are as many as before."""
    pids = [pid for app in WORKERS for pid in ready_pids(stage, app)]
    watchers = [stage.site.child.pid, *stage.site.front_pids()]
    for pid in watchers:
        os.kill(pid, signal.SIGSTOP)  # so that nobody sees one die while another, which is to die, takes over
    at_s = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in watchers:
        os.kill(pid, signal.SIGCONT)
    while (passed_s := time.monotonic() - at_s) < 30:
        now = {app: ready_pids(stage, app) for app in WORKERS}
        if all(len(now[app]) == count and not set(now[app]) & set(pids) for app, count in WORKERS.items()):
            break
        time.sleep(0.02)
    return [Kill(pid, at_s, passed_s) for pid in pids]


def run(settings: Settings) -> list[Figure]:
    rounds = 2 if settings.is_quick else ROUNDS
    with stage_with_calls(settings, "killed_pools") as stage:
        base = stage.base()
        (stage.folder / "calls").write_text("")
        say(f"killed_pools: all {sum(WORKERS.values())} workers, {rounds} times")
        load = stage.start_load()
        kills = []
        try:
            for _ in range(rounds):
                time.sleep(PAUSE_S / 4 if settings.is_quick else PAUSE_S)
                kills += kill_all(stage)
            time.sleep(1)
        finally:
            entries = load.entries()
        deaths = {kill.pid: kill.at_s for kill in kills}
        calls = Calls(stage.folder / "calls")
        return [
            *judge(entries, calls, kills, deaths),
            at_most("all new workers were ready after, worst", max(k.respawn_s for k in kills), RESPAWN_S, "s"),
            *compare(base, ledger.summarise(entries))[1:],
        ]
