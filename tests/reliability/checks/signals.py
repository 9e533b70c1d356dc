"""R33: 1,000 signals in 5 s under load, mixed; the same with TERM among them; and as PID 1 among foreign orphans.

No signal but TERM costs a request; TERM in a storm is one orderly end with exit code 0 and no process left; as PID 1 of
a namespace it waits for orphans that are none of its own and takes no notice of how they ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.reliability.attackers import connected, status_of
from tests.reliability.figures import Figure, all_of, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say, seconds_until
from tests.support import processes

SIGNALS = 1000
SECONDS = 5.0
ORPHANS = 100
STOP_S = 6.0
GRACE_S = 5.0
HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH, signal.SIGPIPE)
PID_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def _storm(pid: int, count: int, seconds: float, more: tuple[signal.Signals, ...] = ()) -> int:
    """Send them, evenly; return how many were sent until the process was gone."""
    kinds = (*HARMLESS, *more)
    began = time.monotonic()
    for number in range(count):
        try:
            os.kill(pid, kinds[number % len(kinds)])
        except ProcessLookupError:
            return number
        time.sleep(max(0.0, began + seconds * number / count - time.monotonic()))
    return count


def _is_zombie_or_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _harmless(settings: Settings, stage: Stage) -> list[Figure]:
    base = stage.base()
    count = settings.count(SIGNALS)
    say(f"signals: {count} of {', '.join(kind.name for kind in HARMLESS)}")
    lines = len(stage.error_lines())
    pids = stage.site.front_pids()
    with beside(stage) as summaries:
        _storm(stage.site.child.pid, count, SECONDS)
        time.sleep(2)
    bad = stage.bad_lines(lines)
    same = len(set(pids) & set(stage.site.front_pids()))
    status = stage.status()
    workers = [worker for app in ("wsgi", "asgi") for worker in status["apps"][app]["workers"]]
    serving = sum(worker["state"] in ("idle", "busy") for worker in workers)
    return [
        all_of("fronts as before", same, len(pids)),
        all_of("workers that serve, of those there are", serving, 3),
        none_of("lines of level error", len(bad), len(stage.error_lines()) - lines, bad[0][:120] if bad else ""),
        told("error log grew by", f"{len(stage.error_lines()) - lines} lines"),
        *compare(base, summaries[0]),
    ]


def _with_term(settings: Settings, stage: Stage) -> list[Figure]:
    say("signals: the same, with TERM among them")
    lines = len(stage.error_lines())
    stage.site.observe()
    began = time.monotonic()
    sent = _storm(stage.site.child.pid, settings.count(SIGNALS), SECONDS, (signal.SIGTERM,))
    code: int | None
    try:
        code = stage.site.wait_exit(STOP_S + 10)
    except subprocess.TimeoutExpired:
        code = None
    stopped_s = time.monotonic() - began
    left = seconds_until(lambda: not stage.site.survivors(), 2)
    bad = stage.bad_lines(lines)
    stops = sum("stopping:" in line for line in stage.error_lines()[lines:])
    return [
        Figure("exit code after a storm with TERM", f"{code} (after {sent} signals)", "0", code == 0),
        at_most("stops that the log tells", stops, 1),
        at_most("ended after the first", stopped_s, STOP_S, "s"),
        none_of("processes left", len(stage.site.survivors()), 1, f"after {left:.1f} s"),
        none_of("lines of level error then", len(bad), len(stage.error_lines()) - lines, bad[0][:120] if bad else ""),
    ]


def _why_no_pid_1() -> str:
    """Return why no PID namespace can be made here, "" = it can."""
    try:
        answer = subprocess.run([*PID_1, "true"], capture_output=True, text=True, check=False, timeout=10)
    except OSError as error:
        return str(error)
    return answer.stderr.strip() if answer.returncode else ""


def _ask(stage: Stage, path: str) -> int:
    answer = b""
    with connected(stage.address, 10) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        while data := client.recv(65536):
            answer += data
    return status_of(answer)


def _as_pid_1(settings: Settings) -> list[Figure]:
    if reason := _why_no_pid_1():
        return [told("as PID 1", f"NOT RUN: {reason[:100]}")]
    with Stage(settings, "signals-pid-1", under=PID_1, server=f'graceful_timeout = "{GRACE_S:g}s"') as stage:
        (master,) = [process.pid for process in processes.descendants(stage.site.child.pid)[:1]]
        base = stage.base()
        workers = {worker["pid"] for app in ("wsgi", "asgi") for worker in stage.status()["apps"][app]["workers"]}
        count = settings.count(ORPHANS)
        say(f"signals: PID 1 of a namespace with {count} orphans")
        lines = len(stage.error_lines())
        with beside(stage) as summaries:
            asked = [_ask(stage, f"/orphan/{3 + number % 2}") for number in range(count)]
            time.sleep(1)
        zombies = [process for process in processes.descendants(master) if process.is_zombie]
        status = stage.status()
        now = {worker["pid"] for app in ("wsgi", "asgi") for worker in status["apps"][app]["workers"]}
        grown = stage.error_lines()[lines:]
        started = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, signal.SIGTERM)
        code: int | None
        try:
            code = stage.site.wait_exit(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            code = None
        return [
            Figure("PID 1: the master is", f"PID {status['master']['pid']}", "1", status["master"]["pid"] == 1),
            all_of("PID 1: orphans that ended with 3 or 4", asked.count(200), count),
            none_of("PID 1: zombies then", len(zombies), count),
            all_of("PID 1: workers as before", len(now & workers), len(workers)),
            none_of("PID 1: log lines about them", len(grown), count, grown[0][:120] if grown else ""),
            Figure("PID 1: exit code after TERM", f"{code}", "0", code == 0),
            at_most("PID 1: ended after", time.monotonic() - started, GRACE_S + 1, "s"),
            *[Figure(f"PID 1: {f.what}", f.value, f.bar, f.holds) for f in compare(base, summaries[0])],
        ]


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "signals", server=f'graceful_timeout = "{GRACE_S:g}s"') as stage:
        rows = [*_harmless(settings, stage), *_with_term(settings, stage)]
    return [*rows, *_as_pid_1(settings)]
