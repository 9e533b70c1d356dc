"""R15: requests that never come back: asleep, in an endless loop, at a lock, in a stopped process, in a coroutine.

One of four workers each time. 504 at the deadline, give or take a second; the worker is killed within 2 s of it (where
other requests run there: after them); no other request fails or waits behind it; the log says where it hung.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import NamedTuple

from tests.reliability.attackers import connected, status_of
from tests.reliability.checks.killed_workers import ready_pids
from tests.reliability.figures import Figure, all_of, none_of
from tests.reliability.ledger import compare, summarise
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, say

WORKERS = 4
TIMEOUT_S = 3.0
QUICK_TIMEOUT_S = 1.5
PUNCTUAL_S = 1.0
KILLED_WITHIN_S = 2.0
BEHIND_S = 0.1
LATER_S = 0.6
# Host, how it hangs, and what the log has to name. A stopped process can't tell where it is.
CASES = (
    ("w", "sleep", "hang_asleep"),
    ("w", "spin", "hang_in_a_loop"),
    ("w", "lock", "hang_at_a_lock"),
    ("w", "stop", ""),
    ("t", "sleep", "hang_asleep"),
    ("t", "spin", "hang_in_a_loop"),
    ("t", "lock", "hang_at_a_lock"),
    ("a", "await", "hang_awaiting"),
    ("a", "sleep", "hang_asleep"),
    ("a", "spin", "hang_in_a_loop"),
    ("a", "lock", "hang_at_a_lock"),
    ("a", "stop", ""),
)
APPS = {"w": "wsgi", "t": "threaded", "a": "asgi"}
WORDS = {"w": "WSGI", "t": "WSGI, 4 threads", "a": "ASGI"}
MORE = """
[app.threaded]
entry = "normal_wsgi:application"
root = "{{apps}}"
workers = 2
threads = 4
timeout = "{timeout_s}s"

[site.t]
hosts = ["t"]
app = "threaded"
"""


class Hang(NamedTuple):
    status: int
    answered_s: float
    """From the request; 0 = never."""
    killed_s: float
    """From the answer until the worker is gone."""
    beside: list[int]
    """Statuses of what ran in the same worker and ended on its own."""


def _read(client: socket.socket, most_s: float) -> int:
    client.settimeout(most_s)
    answer = b""
    with suppress(OSError):
        while data := client.recv(65536):
            answer += data
    return status_of(answer)


def _send(stage: Stage, host: str, path: str) -> socket.socket:
    client = connected(stage.address, 5)
    client.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".encode())
    return client


def _hang(stage: Stage, host: str, how: str, timeout_s: float) -> Hang:
    app = APPS[host]
    before = ready_pids(stage, app)
    began = time.monotonic()
    client = _send(stage, host, f"/hang/{how}")
    # What shares the worker with it, where workers run several at once: begins after it, and ends after its deadline.
    others = []
    if host == "t" or how == "await":
        time.sleep(LATER_S)
        others = [_send(stage, host, f"/work/{timeout_s - LATER_S / 2}/1") for _ in range(2 * WORKERS)]
    status = _read(client, timeout_s + 10)
    answered_s, told_at = time.monotonic() - began, time.monotonic()
    client.close()
    statuses = []
    for other in others:
        statuses.append(_read(other, 10))
        other.close()
        told_at = time.monotonic()  # they keep it alive, as they should
    gone_s = 30.0
    while time.monotonic() - told_at < 30:
        gone = [pid for pid in before if not _is_alive(pid)]
        if gone:
            gone_s = time.monotonic() - told_at
            break
        time.sleep(0.02)
    while len(ready_pids(stage, app)) < len(before) and time.monotonic() - began < 60:
        time.sleep(0.02)
    return Hang(status, answered_s, gone_s, statuses)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def run(settings: Settings) -> list[Figure]:
    timeout_s = settings.timeout_s(TIMEOUT_S, QUICK_TIMEOUT_S)
    line = f'timeout = "{timeout_s}s"'
    with Stage(
        settings,
        "hangs",
        wsgi=line,
        asgi=line,
        wsgi_workers=WORKERS,
        asgi_workers=WORKERS,
        more=MORE.format(timeout_s=timeout_s),
    ) as stage:
        base = stage.base()
        rows: list[Figure] = []
        hangs: list[Hang] = []
        unnamed = []
        load = stage.start_load()
        try:
            for host, how, name in CASES:
                say(f"hangs: {WORDS[host]}, {how}")
                lines = len(stage.error_lines())
                hang = _hang(stage, host, how, timeout_s)
                hangs.append(hang)
                if name:
                    time.sleep(0.3)
                    text = "\n".join(stage.error_lines()[lines:])
                    if name not in text:
                        unnamed.append(f"{WORDS[host]} {how}")
                off_s = hang.answered_s - timeout_s
                value = f"{hang.status or 'no answer'} {off_s:+.2f} s, killed {hang.killed_s:.2f} s after"
                holds = hang.status == 504 and abs(off_s) <= PUNCTUAL_S and hang.killed_s <= KILLED_WITHIN_S
                if hang.beside:
                    value += f"; beside it {hang.beside.count(200)} of {len(hang.beside)} answered"
                    holds = holds and all(status == 200 for status in hang.beside)
                bar = f"504 ±{PUNCTUAL_S:g} s, killed ≤ {KILLED_WITHIN_S:g} s"
                rows.append(Figure(f"{WORDS[host]}: {how}", value, bar, holds))
        finally:
            entries = load.entries()
        limit_s = BEHIND_S + base.p99_ms / 1000
        late = [entry for entry in entries if not entry.cause and entry.latency_s - entry.lag_s > limit_s]
        worst = max((entry.latency_s - entry.lag_s for entry in entries), default=0.0)
        named = sum(bool(name) for _, _, name in CASES)
        return [
            *rows,
            all_of("the log says where it hung", named - len(unnamed), named, f"not: {', '.join(unnamed)}"),
            none_of("normal requests that waited over 100 ms", len(late), len(entries), f"worst {worst * 1000:.0f} ms"),
            *compare(base, summarise(entries)),
        ]
