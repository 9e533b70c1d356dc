"""R11, F1: 1,000 clients send a head, a byte or a line every 10 s, or nothing at all, beside the normal load.

Each gets 408 and is closed at head_timeout ± 1 s (a silent one is only closed); when it is closed it comes again.
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
KINDS = ("byte", "line", "silent")


async def _client(stage: Stage, number: int, timeout_s: float, rounds: int) -> list[tuple[str, Outcome]]:
    settings = stage.settings
    await asyncio.sleep(settings.ramp_s * number / settings.count(CLIENTS))
    kind = KINDS[number % 3]
    first = {"byte": b"G", "line": b"GET /echo/slow HTTP/1.1\r\nHost: w\r\n", "silent": b""}[kind]
    found = []
    for _ in range(rounds):
        pieces = [bytes([byte]) for byte in b"ET /echo/slow HTTP/1.1\r\n"]
        if kind == "line":
            pieces = [b"X-%d: a\r\n" % line for line in range(100)]
        # A silent client just waits; the others are never quiet for as long as the time-out.
        every_s = 1000.0 if kind == "silent" else 0.9 * timeout_s
        found.append((kind, await trickle(stage.address, first, iter(pieces), every_s, timeout_s + 5)))
    return found


async def _attack(stage: Stage, timeout_s: float) -> list[tuple[str, Outcome]]:
    settings = stage.settings
    rounds = max(1, int((settings.seconds - settings.ramp_s) // (timeout_s + 0.5)))
    clients = [_client(stage, number, timeout_s, rounds) for number in range(settings.count(CLIENTS))]
    return list(itertools.chain.from_iterable(await asyncio.gather(*clients)))


def run(settings: Settings) -> list[Figure]:
    timeout_s = settings.timeout_s(10, 3)
    with Stage(settings, "slow_heads", limits=f'head_timeout = "{timeout_s:g}s"') as stage:
        base = stage.base()
        say(f"slow_heads: {settings.count(CLIENTS)} clients, head_timeout {timeout_s:g} s")
        with Watch(stage) as watch, beside(stage) as summaries:
            outcomes = asyncio.run(_attack(stage, timeout_s))
        spoke = [outcome for kind, outcome in outcomes if kind != "silent"]
        silent = [outcome for kind, outcome in outcomes if kind == "silent"]
        in_time = [outcome for _, outcome in outcomes if abs(outcome.seconds - timeout_s) <= TOLERANCE_S]
        times = sorted(outcome.seconds for _, outcome in outcomes)
        return [
            all_of("slow heads answered 408 and closed", _right(spoke, 408), len(spoke), describe(spoke)),
            all_of("silent clients closed", _right(silent, 0) + _right(silent, 408), len(silent), describe(silent)),
            all_of(f"of both, at {timeout_s:g} ± {TOLERANCE_S:g} s", len(in_time), len(outcomes)),
            told("earliest / latest end", f"{times[0]:.2f} / {times[-1]:.2f} s"),
            *compare(base, summaries[0], 2.0),
            at_most("memory grew by (PSS, all processes)", watch.grown_mb, 30, "MB"),
            told("most connections at once", str(watch.most_connections)),
        ]


def _right(outcomes: list[Outcome], status: int) -> int:
    return sum(outcome.status == status and outcome.end == "fin" for outcome in outcomes)
