"""R5: kill -9 of the master, 3 times, under load; another server is started on the same address at once.

What runs is finished, then every process of the dead server ends within the grace time; the address is free for the
next one at once, and from its first answer on no request fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from tests.reliability import ledger
from tests.reliability.attackers import connected, status_of
from tests.reliability.figures import Figure, all_of, at_most, none_of, told
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, say, seconds_until
from tests.support.site import Site

ROUNDS = 3
GRACE_S = 5.0
RUNS_S = 1.5
RUNNING = {"w": 2, "a": 20}
READY_S = 3.0
"""Until the next server answers; mostly its own start, on a machine that serves a load meanwhile."""
MORE_S = 2.0


def _send(stage: Stage, host: str) -> socket.socket:
    client = connected(stage.address, 10)
    client.sendall(f"GET /work/{RUNS_S}/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return client


def _status(client: socket.socket) -> int:
    answer = b""
    with contextlib.closing(client), contextlib.suppress(OSError):
        while data := client.recv(65536):
            answer += data
    return status_of(answer)


def _next_site(stage: Stage, most_s: float) -> tuple[Site, int]:
    """Start the next server where the dead one was; again if the address was not free. Return how often."""
    until = time.monotonic() + most_s
    for starts in range(1, 100):
        site = Site(stage.folder, stage.text, http=f'"127.0.0.1:{stage.address[1]}"')
        try:
            site.wait_ready()
            return site, starts
        except AssertionError:
            site.end_by_force()
            if time.monotonic() > until:
                raise
    raise AssertionError("unreachable")


def _round(settings: Settings, number: int) -> tuple[list[int], float, float, int, list[ledger.Entry]]:
    server = f'graceful_timeout = "{GRACE_S:g}s"'
    with Stage(settings, f"killed_master-{number}", server=server) as stage:
        load = stage.start_load()
        entries: list[ledger.Entry] = []
        site = None
        try:
            clients = [_send(stage, host) for host, count in RUNNING.items() for _ in range(count)]
            time.sleep(0.3)
            stage.site.observe()
            killed_at = time.monotonic()
            os.kill(stage.site.child.pid, signal.SIGKILL)
            stage.site.child.wait(10)
            site, starts = _next_site(stage, 10)
            ready_s = time.monotonic() - killed_at
            statuses = [_status(client) for client in clients]
            gone_s = time.monotonic() - killed_at + seconds_until(lambda: not stage.site.survivors(), GRACE_S + 5)
            time.sleep(MORE_S)
            entries = load.entries()
            after = [entry for entry in entries if entry.begun_s > killed_at + ready_s]
            return statuses, ready_s, gone_s, starts, after
        finally:
            load.kill()
            if site is not None:
                site.terminate()
                with contextlib.suppress(Exception):
                    site.wait_exit(8)
                site.end_by_force()


def run(settings: Settings) -> list[Figure]:
    statuses: list[int] = []
    after: list[ledger.Entry] = []
    ready_s = gone_s = 0.0
    starts = 0
    rounds = 1 if settings.is_quick else ROUNDS
    for number in range(rounds):
        say(f"killed_master: {number + 1} of {rounds}")
        answered, ready, gone, tries, entries = _round(settings, number)
        statuses += answered
        after += entries
        ready_s, gone_s, starts = max(ready_s, ready), max(gone_s, gone), max(starts, tries)
    failed = [f"{entry.kind} {entry.cause}" for entry in after if entry.cause]
    return [
        all_of("requests that ran were answered", statuses.count(200), len(statuses)),
        at_most("every process of the dead server gone after, worst", gone_s, GRACE_S + 1, "s"),
        at_most("the next server was ready after, worst", ready_s, READY_S, "s"),
        told("starts that this took, most", f"{starts}"),
        none_of("failed requests since then", len(failed), len(after), ", ".join(sorted(set(failed))[:4])),
    ]
