"""R7: a server that may open 256 descriptors, and 500 clients: first mostly idle ones, then 300 whose requests run.

Running requests are unharmed; idle connections make room; full and quiet it does not spin; service is back in 2 s.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.reliability.attackers import open_ear, status_of
from tests.reliability.figures import Figure, all_of, at_most, told
from tests.reliability.settings import Settings
from tests.reliability.sites import file_content
from tests.reliability.stage import Stage, say

LIMIT = 256
RUNNING = 20
CLIENTS = 500
FILLERS = 300
FILE = b"GET /0.bin HTTP/1.1\r\nHost: f\r\n\r\n"
FRESH = b"GET /echo/fresh HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ANSWER_S = 2.0


@dataclass
class Crowd:
    """Clients that make one request each and stay, for as long as they are let."""

    stage: Stage
    outcomes: Counter[str] = field(default_factory=Counter)
    shed: int = 0
    slowest_s: float = 0.0

    async def idle(self, after_s: float, gone: asyncio.Event) -> None:
        await asyncio.sleep(after_s)
        began = time.monotonic()
        try:
            transport, ear = await open_ear(self.stage.address)
        except (OSError, TimeoutError) as error:
            self.outcomes[f"connect: {error}"] += 1
            return
        transport.write(FILE)
        while not (right := _is_whole_file(ear.answer)) and not ear.closed.done() and time.monotonic() - began < 10:
            await asyncio.sleep(0.005)
        took = time.monotonic() - began
        if right:
            self.slowest_s = max(self.slowest_s, took)
            self.outcomes["answered" if took <= ANSWER_S else "answered late"] += 1
        else:
            how = f"{ear.closed.result()} after {len(ear.answer)} bytes" if ear.closed.done() else "none in 10 s"
            self.outcomes[f"no answer: {how}"] += 1
        leaving = asyncio.create_task(gone.wait())
        waiting: list[asyncio.Future[Any]] = [ear.closed, leaving]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if right and ear.closed.done():
            self.shed += 1
        leaving.cancel()
        transport.abort()


def _is_whole_file(answer: bytes) -> bool:
    return status_of(answer) == 200 and answer.endswith(file_content(0))


async def _drip(stage: Stage, seconds: float) -> str:
    """Make a request that runs for so long. Return "" if its answer was right; when cancelled it leaves."""
    try:
        transport, ear = await open_ear(stage.address, seconds + 15)
    except (OSError, TimeoutError) as error:
        return f"connect: {error}"
    try:
        transport.write(f"GET /drip/{seconds:g} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        began = time.monotonic()
        done, _ = await asyncio.wait([ear.closed], timeout=seconds + 15)
        took = time.monotonic() - began
        if not done:
            return f"not over in time, {len(ear.answer)} bytes"
        whole = status_of(ear.answer) == 200 and ear.answer.count(b"123456789\n") == max(1, int(seconds * 2))
        return "" if whole else f"{ear.closed.result()} after {len(ear.answer)} bytes, {took:.1f} s"
    finally:
        transport.abort()


async def _fresh(stage: Stage, timeout_s: float = 5.0) -> float:
    """Return how long a new client waited for its answer; ``timeout_s`` if it got none."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(*stage.address)
            writer.write(FRESH)
            answer = await reader.read()
            writer.close()
        return time.monotonic() - began if status_of(answer) == 200 else timeout_s
    except (OSError, TimeoutError):
        return timeout_s


@dataclass
class Found:
    harmed: list[str]
    crowd: Crowd
    quiet_cpu: float
    quiet_lines: int
    full_connections: int
    full_descriptors: int
    fillers: Counter[str]
    back_s: float
    after: list[float]


async def _attack(stage: Stage) -> Found:
    settings = stage.settings
    # 20 requests run through everything that follows.
    whole_s = 11.0 if settings.is_quick else 2 * settings.seconds / 3 + 12
    running = [asyncio.create_task(_drip(stage, whole_s)) for _ in range(RUNNING)]
    await asyncio.sleep(1)

    crowd, gone = Crowd(stage), asyncio.Event()
    hold_s = 3.0 if settings.is_quick else settings.seconds / 3
    say(f"descriptors: {CLIENTS} mostly idle clients within {hold_s:.0f} s")
    tasks = [asyncio.create_task(crowd.idle(hold_s * n / CLIENTS, gone)) for n in range(CLIENTS)]
    await asyncio.sleep(hold_s + 2)
    gone.set()
    await asyncio.gather(*tasks)

    say(f"descriptors: {FILLERS} clients whose requests run")
    quiet_s = 3.0 if settings.is_quick else settings.seconds / 3
    fillers = [asyncio.create_task(_drip(stage, quiet_s * 4)) for _ in range(FILLERS)]
    await asyncio.sleep(2)
    pid = stage.front_pid
    cpu, lines = stage.cpu_s(pid), len(stage.error_lines())
    await asyncio.sleep(quiet_s)
    cpu, lines = (stage.cpu_s(pid) - cpu) / quiet_s, len(stage.error_lines()) - lines
    connections = int(stage.status()["fronts"][0]["connections"])
    descriptors = stage.descriptors()[pid]
    ended = [task.result() for task in fillers if task.done()]
    for task in fillers:
        task.cancel()
    await asyncio.gather(*fillers, return_exceptions=True)
    outcomes = Counter(ended + ["still running or waiting"] * (len(fillers) - len(ended)))
    say("descriptors: all of them left")
    back_s = await _fresh(stage)
    after = [await _fresh(stage) for _ in range(20)]
    harmed = [outcome for outcome in await asyncio.gather(*running) if outcome]
    return Found(harmed, crowd, cpu, int(lines / quiet_s), connections, descriptors, outcomes, back_s, after)


def run(settings: Settings) -> list[Figure]:
    under = ["prlimit", f"--nofile={LIMIT}:{LIMIT}"]
    with Stage(settings, "descriptors", asgi="concurrency = 1000", under=under) as stage:
        began, lines = time.monotonic(), len(stage.error_lines())
        found = asyncio.run(_attack(stage))
        seconds = time.monotonic() - began
        crowd, harmed = found.crowd, found.harmed
        outcomes = ", ".join(f"{count} x {what}" for what, count in crowd.outcomes.most_common(4))
        fillers = ", ".join(f"{count} x {what or 'whole'}" for what, count in found.fillers.most_common(3))
        errors = len(stage.error_lines()) - lines
        return [
            all_of("running requests unharmed", RUNNING - len(harmed), RUNNING, harmed[0] if harmed else ""),
            all_of(
                f"new clients answered in {ANSWER_S:g} s beside idle ones",
                crowd.outcomes["answered"],
                CLIENTS,
                outcomes,
            ),
            told("idle connections shed", f"{crowd.shed} of {crowd.outcomes['answered']}"),
            told("slowest answer to a new client", f"{crowd.slowest_s:.2f} s"),
            at_most("CPU of the front while full and quiet", 100 * found.quiet_cpu, 20, "% of a core"),
            told(
                "connections when full",
                f"{found.full_connections} of {FILLERS + RUNNING}, {found.full_descriptors} descriptors of {LIMIT}",
            ),
            told("clients with running requests when they left", fillers),
            at_most("full service back after", found.back_s, 2, "s"),
            at_most("worst of 20 new clients then", max(found.after), 1, "s"),
            at_most("error log lines per second", errors / seconds, 1),
            at_most("that while full and quiet", found.quiet_lines, 1),
            stage.worst_lines(lines),
        ]
