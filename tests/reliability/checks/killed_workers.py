"""R2: kill -9 of one worker every second, 20 times, in the middle of GET and POST requests, WSGI and ASGI.

No GET fails. A POST that had begun is answered 502 within 100 ms and never runs again, and no other POST fails: the
applications keep a ledger of what began where. A new worker is ready within a second and its import.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from tests.reliability import ledger
from tests.reliability.calls import Calls
from tests.reliability.figures import Figure, all_of, at_least, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, say

KILLS = 20
WORKERS = {"wsgi": 4, "asgi": 2}
WORK_S = 0.02
TOLD_MS = 100.0
RESPAWN_S = 1.3
"""A second, and what the import of so small an application takes on a busy machine."""


class Kill(NamedTuple):
    pid: int
    at_s: float
    respawn_s: float


def ready_pids(stage: Stage, app: str) -> dict[int, int]:
    """Return the workers that take requests, and what each runs."""
    workers = stage.status()["apps"][app]["workers"]
    return {worker["pid"]: worker["running"] for worker in workers if worker["state"] in ("idle", "busy")}


def kill_one(stage: Stage, app: str, most_s: float) -> Kill:
    """Kill the busiest worker and wait until there are as many as before."""
    pids = ready_pids(stage, app)
    pid = max(pids, key=lambda pid: pids[pid])
    at_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while (passed_s := time.monotonic() - at_s) < most_s:
        pids = ready_pids(stage, app)
        if pid not in pids and len(pids) == WORKERS[app]:
            break
        time.sleep(0.02)
    return Kill(pid, at_s, passed_s)


def ledger_env(stage_folder: str, work_s: float = WORK_S) -> str:
    """Return the line that makes an application of ours note what it runs, and take its time over it."""
    return f'env = {{ LEDGER = "{stage_folder}/calls", WORK_S = "{work_s:g}" }}'


def _is_right_after(entry: ledger.Entry, kills: list[Kill]) -> bool:
    """Was it answered when a worker had just died?"""
    answered_s = entry.begun_s + entry.latency_s
    return any(0 <= answered_s - kill.at_s <= 2 * TOLD_MS / 1000 for kill in kills)


def judge(entries: list[ledger.Entry], calls: Calls, kills: list[Kill], deaths: dict[int, float]) -> list[Figure]:
    """Hold what became of every request against what the applications noted. ``deaths``: pid → when it was killed."""
    gets = [entry for entry in entries if not entry.kind.endswith("post")]
    posts = {entry.number: entry for entry in entries if entry.kind.endswith("post")}
    failed_gets = [entry for entry in gets if entry.cause]
    failed = {number: entry for number, entry in posts.items() if entry.cause}
    begun_in_dead = {call.number: call for call in calls.begun if call.pid in deaths}
    cut = {call.number for call in calls.unended if call.pid in deaths and call.number in posts}
    right = [number for number in cut if number in failed and failed[number].cause == "status 502"]
    # A call that was over may die before its answer has left the worker: then it had begun in it, right before the end.
    unknown = [entry for number, entry in failed.items() if number not in begun_in_dead]
    # Between the worker's mark and the application's first line there is a moment in which only the front knows.
    marked = [entry for entry in unknown if entry.cause == "status 502" and _is_right_after(entry, kills)]
    strangers = [entry for entry in unknown if entry not in marked]
    twice = [number for number, times in calls.times.items() if number in posts and times > 1]
    told_ms = [
        (entry.begun_s + entry.latency_s - deaths[begun_in_dead[number].pid]) * 1000
        for number, entry in failed.items()
        if number in begun_in_dead
    ]
    causes = ", ".join(sorted({f"{entry.kind} {entry.cause}" for entry in failed_gets})[:4])
    lost = ", ".join(sorted({f"{entry.kind} {entry.cause}" for entry in strangers})[:4])
    return [
        none_of("failed GET requests (files, WSGI, ASGI)", len(failed_gets), len(gets), causes),
        all_of("POST that had begun and could not end: 502", len(right), len(cut)),
        told("further 502 of what was over, but not sent yet", f"{len(failed) - len(right) - len(unknown)}"),
        told("further 502 that the worker had marked, and not called yet", f"{len(marked)}"),
        none_of("failed POST that had not begun in a killed worker", len(strangers), len(posts), lost),
        none_of("POST that began twice", len(twice), len(posts)),
        told("GET that were tried again", f"{sum(times > 1 for times in calls.times.values()) - len(twice)}"),
        at_most("502 after the kill, worst", max(told_ms, default=0.0), TOLD_MS, "ms"),
    ]


def stage_with_calls(settings: Settings, name: str) -> Stage:
    """Return a stage whose applications write down which calls have begun in them."""
    env = ledger_env(str(settings.folder / name))
    return Stage(settings, name, wsgi=env, asgi=env, wsgi_workers=WORKERS["wsgi"], asgi_workers=WORKERS["asgi"])


def run(settings: Settings) -> list[Figure]:
    count = 6 if settings.is_quick else KILLS
    with stage_with_calls(settings, "killed_workers") as stage:
        base = stage.base()
        (stage.folder / "calls").write_text("")
        say(f"killed_workers: {count} kills, one a second")
        load = stage.start_load()
        kills = []
        try:
            for number in range(count):
                began = time.monotonic()
                kills.append(kill_one(stage, "asgi" if number % 3 == 2 else "wsgi", 30))
                time.sleep(max(0.0, began + 1 - time.monotonic()))
        finally:
            entries = load.entries()
        deaths = {kill.pid: kill.at_s for kill in kills}
        calls = Calls(stage.folder / "calls")
        slow = max(kill.respawn_s for kill in kills)
        rows = judge(entries, calls, kills, deaths)
        summary = ledger.summarise(entries)
        return [
            at_least("kills", len(deaths), count),
            *rows,
            at_most("a new worker was ready after, worst", slow, RESPAWN_S, "s"),
            *compare(base, summary)[1:],
        ]
