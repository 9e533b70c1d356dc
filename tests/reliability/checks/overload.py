"""R24: three times what an application can do, in open loop for 30 s; with slow requests, with computing ones.

What is done per second stays at 90 % of the most; the rest gets 503 with Retry-After within 50 ms; who is admitted has
its answer within the queue's limit; health path and status answer within 100 ms all the while; two seconds after it
everything is as before.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from benchmarks.open_loop import Entry, OpenLoop, Stream, percentile_ms
from tests.reliability.attackers import connected, status_of
from tests.reliability.figures import Figure, all_of, at_least, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say
from tests.reliability.watch import Watch

TIMES = 3
QUEUE_S = 1.0
GOODPUT = 0.90
REFUSED_MS = 50.0
LOOKED_MS = 100.0
MEMORY_MB = 50.0
BACK_S = 2.0
LOOK_EVERY_S = 0.1

MORE = """
[app.{name}]
entry = "normal_wsgi:application"
root = "{{apps}}"
workers = {workers}
queue = {{ size = {queue}, timeout = "{queue_s:g}s" }}
{more}

[site.{name}]
hosts = ["{name}"]
app = "{name}"
"""


class Case(NamedTuple):
    name: str
    what: str
    target: str
    workers: int
    queue: int
    """How many may wait."""
    closed_loop: int
    """How many clients find out the most that it can do."""


CASES = (
    Case("sleeping", "10 ms asleep, 4 workers", "/work/0.01/{n}", 4, 100, 8),
    Case("computing", "5 ms of the CPU, 1 worker", "/burn/0.005/{n}", 1, 20, 2),
    Case("long", "10 ms asleep, a queue longer than its time", "/work/0.01/{n}", 4, 5000, 8),
)


class Looks:
    """Ask for the health path and the status again and again; how long each took, in ms, -1 = no right answer."""

    def __init__(self, stage: Stage, host: str) -> None:
        self._stage = stage
        self._host = host
        self.health: list[float] = []
        self.status: list[float] = []
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._ask_health, self.health), daemon=True),
            threading.Thread(target=self._repeat, args=(self._stage.status, self.status), daemon=True),
        ]

    def _repeat(self, ask: object, took_ms: list[float]) -> None:
        while not self._is_over.wait(LOOK_EVERY_S):
            began = time.monotonic()
            try:
                ask()  # type: ignore[operator]
            except (OSError, ValueError):
                took_ms.append(-1)
            else:
                took_ms.append((time.monotonic() - began) * 1000)

    def _ask_health(self) -> None:
        answer = b""
        with connected(self._stage.address, 10) as client:
            client.sendall(f"GET /health/1 HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode())
            while data := client.recv(65536):
                answer += data
        if status_of(answer) != 200:
            raise ValueError(status_of(answer))

    def __enter__(self) -> Looks:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(15)


def most_per_s(stage: Stage, case: Case, seconds: float) -> float:
    """Return how many requests per second are answered to clients that each wait for their answer."""
    counts = [0] * case.closed_loop
    until = time.monotonic() + seconds

    def work(client_number: int) -> None:
        target = case.target.replace("{n}", str(client_number))
        request = f"GET {target} HTTP/1.1\r\nHost: {case.name}\r\n\r\n".encode()
        with connected(stage.address, 10) as client, suppress(OSError):
            while time.monotonic() < until:
                client.sendall(request)
                if status_of(client.recv(65536)) == 200:
                    counts[client_number] += 1

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(case.closed_loop)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 15)
    return sum(counts) / (time.monotonic() - began)


def waited_s(stage: Stage, case: Case) -> float:
    """Return how long the workers of an application have been ready to run without a CPU, on average."""
    waited = []
    for pid in stage.site.worker_pids(case.name):
        with suppress(OSError), open(f"/proc/{pid}/schedstat") as schedstat:
            waited.append(int(schedstat.read().split()[1]) / 1e9)
    return sum(waited) / len(waited) if waited else 0.0


def overload(stage: Stage, case: Case, rate: float, seconds: float) -> list[Entry]:
    expected = "burnt {n}\n" if "burn" in case.target else "worked {n}\n"
    stream = Stream(case.name, case.target, rate, host=case.name, expected=expected)
    with OpenLoop(stage.address[1], stage.folder / f"{case.name}.jsonl", [stream], seconds) as load:
        return load.wait()


def back_to_normal_s(stage: Stage, case: Case, limit_ms: float, most_s: float) -> float:
    """Return when the first of ten quick answers in a row came."""
    began = time.monotonic()
    since = began
    in_a_row = 0
    target = case.target.replace("{n}", "0")
    request = f"GET {target} HTTP/1.1\r\nHost: {case.name}\r\nConnection: close\r\n\r\n".encode()
    while (now := time.monotonic()) - began < most_s and in_a_row < 10:
        answer = b""
        with connected(stage.address, 10) as client:
            client.sendall(request)
            while data := client.recv(65536):
                answer += data
        if status_of(answer) == 200 and (time.monotonic() - now) * 1000 <= limit_ms:
            in_a_row += 1
        else:
            in_a_row, since = 0, time.monotonic()
    return since - began if in_a_row == 10 else most_s


def run_case(stage: Stage, case: Case, seconds: float) -> list[Figure]:
    say(f"overload: {case.what}: the most")
    most = most_per_s(stage, case, max(1.5, seconds / 6))
    say(f"overload: {case.what}: {TIMES * most:.0f} requests/s for {seconds:g} s, of which it can do {most:.0f}")
    waited = waited_s(stage, case)
    with Looks(stage, case.name) as looks, Watch(stage) as watch:
        entries = overload(stage, case, TIMES * most, seconds)
    waited = waited_s(stage, case) - waited
    could = most * max(0.0, 1 - waited / seconds)
    back_s = back_to_normal_s(stage, case, 5 * 10, 10)
    done = [entry for entry in entries if entry.is_ok]
    refused = [entry for entry in entries if entry.status == 503 and not entry.cause]
    known = {id(entry) for entry in (*done, *refused)}
    others = Counter(entry.cause or str(entry.status) for entry in entries if id(entry) not in known)
    lags = sorted(entry.lag_s for entry in entries)
    lag_ms = lags[len(lags) * 99 // 100] * 1000 if lags else 0.0
    begun = min(entry.due_s for entry in entries)
    # Over the time in which they were sent; the last second is left out with those that were still waiting then.
    in_time = [entry for entry in done if entry.due_s + entry.latency_s <= begun + seconds]
    refused_p99 = percentile_ms(refused, 0.99)
    is_long = case.name == "long"
    name = case.name
    rows = [
        at_least(
            f"{name}: done per second, of {could:.0f} ({most:.0f} alone)", len(in_time) / seconds, GOODPUT * could
        ),
        none_of(f"{name}: neither 200 nor 503", sum(others.values()), len(entries), str(dict(others.most_common(4)))),
        all_of(f"{name}: 503 with Retry-After", sum(entry.has_retry_after for entry in refused), len(refused)),
    ]
    if is_long:
        rows.append(told(f"{name}: 503, p99", f"{refused_p99:.0f} ms: they waited for their turn in vain"))
    else:
        rows.append(at_most(f"{name}: 503, p99 (client's own lag {lag_ms:.1f})", refused_p99, REFUSED_MS, "ms"))
    return [
        *rows,
        at_most(f"{name}: p99 of the admitted", percentile_ms(done, 0.99), QUEUE_S * 1000 + 250 * is_long, "ms"),
        told(f"{name}: p50 of the admitted", f"{percentile_ms(done, 0.5):.0f} ms"),
        at_most(f"{name}: memory of all processes", watch.grown_mb, MEMORY_MB, "MB"),
        at_most(f"{name}: as before after", back_s, BACK_S, "s"),
        *judge_looks(name, looks),
    ]


def judge_looks(name: str, looks: Looks) -> list[Figure]:
    rows = []
    for what, took_ms in (("health path", looks.health), ("status", looks.status)):
        rows.append(none_of(f"{name}: {what} not answered", took_ms.count(-1), len(took_ms)))
        rows.append(at_most(f"{name}: {what}, worst", max(took_ms, default=0.0), LOOKED_MS, "ms"))
    return rows


def run(settings: Settings) -> list[Figure]:
    more = "".join(
        MORE.format(
            name=case.name, workers=case.workers, queue=case.queue, queue_s=QUEUE_S, more='health = ["/health/1"]'
        )
        for case in CASES
    )
    with Stage(settings, "overload", more=more) as stage:
        base = stage.base()
        lines = len(stage.error_lines())
        rows = []
        for case in CASES[:2] if settings.is_quick else CASES:
            rows += run_case(stage, case, settings.seconds)
        grown = len(stage.error_lines()) - lines
        with beside(stage) as summaries:
            time.sleep(settings.base_s)
        return [*rows, told("error log grew by", f"{grown} lines"), *compare(base, summaries[0], 2.0)]
