"""R6: an application that leaks 50 MB with each request: under a soft limit, a hard limit, and the kernel's own.

Soft: workers are replaced in time, no request fails. Hard: a worker that takes too much at once is killed, which costs
only what it ran. A cgroup's limit: the kernel kills a worker, never the front or the master.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from benchmarks.open_loop import OpenLoop, Stream
from tests.reliability.calls import Calls
from tests.reliability.checks.leak import MemoryWatch, limits, recycled
from tests.reliability.figures import Figure, all_of, at_least, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

LEAK_BYTES = 50_000_000
PER_S = 6
SOFT_MIB, HARD_MIB = 400, 1200
GULP_BYTES = 1_500_000_000
GULPS = 3
GROUP_MIB = 700
MORE = """
[app.leaky]
entry = "normal_wsgi:application"
root = "{{apps}}"
workers = 2
env = {{ LEDGER = "{ledger}" }}
{limits}

[site.leaky]
hosts = ["leaky"]
app = "leaky"
"""


def _leaks(method: str, first: int) -> Stream:
    target = f"/leak/{LEAK_BYTES}/{{n}}"
    return Stream(method, target, PER_S / 2, method=method, host="leaky", expected="leaked {n}\n", first=first)


def _soft(stage: Stage, settings: Settings) -> list[Figure]:
    say(f"memory: {PER_S} requests/s leak 50 MB each, {settings.seconds:g} s")
    base = stage.base()
    streams = [_leaks("GET", 0), _leaks("POST", 1_000_000)]
    with (
        MemoryWatch(stage, ("leaky",)) as watch,
        beside(stage) as summaries,
        OpenLoop(stage.address[1], stage.folder / "soft.jsonl", streams, settings.seconds) as load,
    ):
        entries = load.wait()
    became = Counter(entry.cause or str(entry.status) for entry in entries if not entry.is_ok)
    return [
        none_of(
            "soft: failed of those that leak", sum(became.values()), len(entries), str(dict(became.most_common(4)))
        ),
        at_least("soft: workers, of which new ones took over", len(watch.pids), 3),
        at_most("soft: private memory of a worker, worst", watch.worst_mib, HARD_MIB, "MiB"),
        told("soft: replaced, by reason", str(recycled(stage, ("leaky",)))),
        *[
            Figure(f"soft: {figure.what}", figure.value, figure.bar, figure.holds)
            for figure in compare(base, summaries[0])
        ],
    ]


def _hard(stage: Stage) -> list[Figure]:
    say(f"memory: {GULPS} requests take {GULP_BYTES / 1e9:g} GB at once")
    stream = Stream("POST", f"/gulp/{GULP_BYTES}/{{n}}", 1, method="POST", host="leaky", most=GULPS, first=9000)
    with (
        MemoryWatch(stage, ("leaky",)) as watch,
        beside(stage) as summaries,
        OpenLoop(stage.address[1], stage.folder / "hard.jsonl", [stream], GULPS + 1) as load,
    ):
        entries = load.wait()
    calls = Calls(stage.folder / "calls")
    twice = [number for number, times in calls.times.items() if times > 1]
    became = Counter(entry.cause or str(entry.status) for entry in entries)
    failed = summaries[0]
    return [
        all_of("hard: answered 502", became["502"], GULPS, str(dict(became))),
        none_of("hard: run twice", len(twice), GULPS),
        told("hard: private memory of a worker, worst", f"{watch.worst_mib:,.0f} MiB"),
        none_of("hard: normal: failed requests", failed.failed, failed.total, failed.main_causes()),
    ]


def _new_group() -> tuple[Path | None, str]:
    """Make a memory group of the kernel's, or say why that can't be done here."""
    name = f"pyserve-reliability-{os.getpid()}"
    first = Path("/sys/fs/cgroup/memory")
    second = Path("/sys/fs/cgroup")
    try:
        if (first / "memory.limit_in_bytes").exists():
            group = first / name
            group.mkdir()
            (group / "memory.limit_in_bytes").write_text(str(GROUP_MIB * 1024**2))
        elif "memory" in (second / "cgroup.subtree_control").read_text().split():
            group = second / name
            group.mkdir()
            (group / "memory.max").write_text(str(GROUP_MIB * 1024**2))
            (group / "memory.swap.max").write_text("0")
        else:
            return None, "no memory controller for groups of ours"
    except OSError as error:
        return None, str(error)
    return group, ""


def _kernel(settings: Settings) -> list[Figure]:
    group, reason = _new_group()
    if group is None:
        return [told("kernel: a cgroup of our own", f"NOT RUN: {reason}")]
    try:
        return _in_group(settings, group)
    finally:
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)  # the last process in it is still being buried


def _in_group(settings: Settings, group: Path) -> list[Figure]:
    more = MORE.format(ledger=settings.folder / "memory-kernel" / "calls", limits="")
    under = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    with Stage(settings, "memory-kernel", more=more, under=under) as stage:
        say(f"memory: a limit of {GROUP_MIB} MiB by the kernel")
        fronts, master = stage.site.front_pids(), stage.site.master_pid
        bystanders = set(stage.site.worker_pids("wsgi") + stage.site.worker_pids("asgi"))
        lines = len(stage.error_lines())
        streams = [_leaks("GET", 0), _leaks("POST", 1_000_000)]
        with (
            beside(stage) as summaries,
            OpenLoop(stage.address[1], stage.folder / "kernel.jsonl", streams, min(settings.seconds, 15.0)) as load,
        ):
            entries = load.wait()
        became = Counter(f"{entry.kind} {entry.cause or entry.status}" for entry in entries if not entry.is_ok)
        victims = [line for line in stage.error_lines()[lines:] if "SIGKILL" in line]
        now = set(stage.site.worker_pids("wsgi") + stage.site.worker_pids("asgi"))
        normal = summaries[0]
        return [
            at_least("kernel: workers that it killed", len(victims), 1),
            all_of(
                "kernel: fronts and master as before",
                len({*fronts, master} & {*stage.site.front_pids(), stage.site.master_pid}),
                2,
            ),
            all_of("kernel: workers of other applications as before", len(bystanders & now), len(bystanders)),
            told("kernel: failed of those that leak", f"{sum(became.values())} of {len(entries)} {dict(became)}"),
            none_of("kernel: normal: failed requests", normal.failed, normal.total, normal.main_causes()),
        ]


def run(settings: Settings) -> list[Figure]:
    more = MORE.format(ledger=settings.folder / "memory" / "calls", limits=limits(SOFT_MIB, HARD_MIB))
    with Stage(settings, "memory", more=more) as stage:
        rows = [*_soft(stage, settings), *_hard(stage)]
    return [*rows, *_kernel(settings)]
