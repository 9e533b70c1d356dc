"""R25: one application does its worst, the others must not notice: hung workers, an overload, deaths, endless loops.

Beside each the normal load on the other applications and files: no failed request, p99 at most 1.5 times base. (Endless
loops take cores, not the server: with as many of them as there are cores, the p99 is told and not held.)
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import NamedTuple

from benchmarks.open_loop import Entry, OpenLoop, Stream
from tests.reliability.figures import Figure, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

WORKERS = 2
TIMEOUT_S = 2.0
P99_TIMES = 1.5
MORE = """
[app.bad]
entry = "normal_wsgi:application"
root = "{{apps}}"
workers = {workers}
timeout = "{timeout_s:g}s"
queue = {{ size = 50, timeout = "1s" }}

[site.bad]
hosts = ["bad"]
app = "bad"
"""


class Trouble(NamedTuple):
    name: str
    what: str
    streams: tuple[Stream, ...]
    is_held: bool = True


def _stream(target: str, per_s: float, method: str = "GET") -> Stream:
    return Stream("bad", target, per_s, host="bad", method=method)


TROUBLES = (
    Trouble("hung", "all its workers hang, again and again", (_stream("/hang/sleep", 50, "POST"),)),
    Trouble("overloaded", "1,000 requests/s, of which it can do 200", (_stream("/work/0.01/{n}", 1000),)),
    Trouble("dying", "each request kills a worker", (_stream("/raise/_exit", 50, "POST"),)),
    Trouble("spinning", "all its workers compute, for ever", (_stream("/hang/spin", 50, "POST"),), is_held=False),
)


def _cause(entry: Entry) -> str:
    return entry.cause or str(entry.status)


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "neighbours", more=MORE.format(workers=WORKERS, timeout_s=TIMEOUT_S)) as stage:
        seconds = max(2 * TIMEOUT_S, settings.seconds / 2)
        rows: list[Figure] = []
        for trouble in TROUBLES:
            base = stage.base()
            say(f"neighbours: {trouble.what}, {seconds:g} s")
            output = stage.folder / f"{trouble.name}.jsonl"
            with beside(stage) as summaries, OpenLoop(stage.address[1], output, trouble.streams, seconds) as load:
                entries = load.wait()
            became = Counter(_cause(entry) for entry in entries)
            rows.append(
                told(f"{trouble.name}: what became of its own", ", ".join(f"{n} x {w}" for w, n in became.items()))
            )
            is_held = trouble.is_held or (os.cpu_count() or 1) > 2 * WORKERS
            compared = compare(base, summaries[0], P99_TIMES if is_held else None)
            rows += [Figure(f"{trouble.name}: {row.what}", row.value, row.bar, row.holds) for row in compared]
            time.sleep(TIMEOUT_S + 0.5)  # what still runs of it ends
        return rows
