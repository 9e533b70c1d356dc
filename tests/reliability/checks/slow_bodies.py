"""R12, F2: 1,000 clients send a body of 8 KiB at a byte per second, half to WSGI, half to ASGI, some of it chunked.

Busy workers stay at base; each is answered 408 and closed when a window of body_timeout was below min_rate.
"""

from __future__ import annotations

import asyncio
import itertools

from tests.reliability.attackers import Outcome, describe, trickle
from tests.reliability.figures import Figure, all_of, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say
from tests.reliability.watch import Watch

CLIENTS = 1000
TOLERANCE_S = 1.0
BUSY_MORE = 0.5


async def _client(stage: Stage, number: int, timeout_s: float) -> tuple[str, Outcome]:
    settings = stage.settings
    await asyncio.sleep(settings.ramp_s * number / settings.count(CLIENTS))
    host = "wa"[number % 2]
    is_chunked = number % 10 >= 8
    framing = "Transfer-Encoding: chunked" if is_chunked else "Content-Length: 8192"
    head = f"POST /echo/slow HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n".encode()
    piece = b"1\r\nx\r\n" if is_chunked else b"x"
    return host, await trickle(stage.address, head, itertools.repeat(piece), 1.0, timeout_s + 8)


async def _attack(stage: Stage, timeout_s: float) -> list[tuple[str, Outcome]]:
    clients = [_client(stage, number, timeout_s) for number in range(stage.settings.count(CLIENTS))]
    return await asyncio.gather(*clients)


def run(settings: Settings) -> list[Figure]:
    timeout_s = settings.timeout_s(15, 3)
    with Stage(settings, "slow_bodies", limits=f'body_timeout = "{timeout_s:g}s"') as stage:
        with Watch(stage) as before:
            base = stage.base()
        say(f"slow_bodies: {settings.count(CLIENTS)} clients, body_timeout {timeout_s:g} s")
        with Watch(stage) as watch, beside(stage) as summaries:
            outcomes = asyncio.run(_attack(stage, timeout_s))
        rows = []
        for host, name in (("w", "WSGI"), ("a", "ASGI")):
            own = [outcome for target, outcome in outcomes if target == host]
            right = [outcome for outcome in own if outcome.status == 408 and outcome.end == "fin"]
            in_time = [outcome for outcome in right if abs(outcome.seconds - timeout_s) <= TOLERANCE_S]
            times = sorted(outcome.seconds for outcome in own)
            rows += [
                all_of(f"to {name}: answered 408 and closed", len(right), len(own), describe(own)),
                all_of(f"to {name}: that at {timeout_s:g} ± {TOLERANCE_S:g} s", len(in_time), len(own)),
                told(f"to {name}: earliest / latest end", f"{times[0]:.2f} / {times[-1]:.2f} s"),
            ]
        for app in ("wsgi", "asgi"):
            rows += [
                at_most(f"busy in {app} on average", watch.busy(app), round(before.busy(app) + BUSY_MORE, 2)),
                told(f"busy in {app} at most", f"{watch.busiest(app)} (base {before.busiest(app)})"),
            ]
        return [
            *rows,
            *compare(base, summaries[0], 2.0),
            at_most("memory grew by (PSS, all processes)", watch.grown_mb, 30, "MB"),
            told("spool at most", f"{watch.most_spool[0]} files, {watch.most_spool[1] / 1e6:.1f} MB"),
        ]
