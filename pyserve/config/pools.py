"""The keys of ``[app.NAME]`` that say how many workers there are, how long they live and who waits for them.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyserve.config.model import Recycling, Scaling
from pyserve.config.problems import show
from pyserve.config.table import Table

MAX_WORKERS = 1024
_NOT_CANONICAL = re.compile(r"/\.\.?(/|$)|\\|%(00|2[Ff]|(?![0-9A-Fa-f]{2}))")
"""What a front takes out of a path, or refuses (http.target)."""
HARD_PER_SOFT = 1.5
"""The hard limit of memory where only one is given, as a multiple of it."""


def decode_workers(table: Table, default: int) -> tuple[int, Scaling | None]:
    """Return the most workers, and how they follow the load if they do."""
    if not isinstance(table.values.get("workers"), Mapping):
        return table.integer("workers", default, 1, MAX_WORKERS), None
    workers = table.table("workers", ("min", "max", "idle"))
    assert workers is not None
    least = workers.integer("min", 1, 0, MAX_WORKERS)
    most = workers.integer("max", max(default, least), 1, MAX_WORKERS)
    idle_s = workers.duration_s("idle", Scaling(0).idle_s)
    if least > most:
        workers.problem(f"expected at most max, which is {most}, not {least}", "min")
        least = most
    return most, Scaling(least, idle_s)


def decode_recycling(table: Table) -> Recycling:
    soft, hard = _memory(table)
    return Recycling(
        max_requests=table.integer("max_requests", 0, 0, 1_000_000_000),
        max_age_s=table.duration_s("max_age", 0.0),
        soft_memory_bytes=soft,
        hard_memory_bytes=hard,
    )


def _memory(table: Table) -> tuple[int, int]:
    if not isinstance(table.values.get("max_memory"), Mapping):
        soft = table.size_bytes("max_memory", 0, 1)
        return soft, int(soft * HARD_PER_SOFT)
    both = table.table("max_memory", ("soft", "hard"))
    assert both is not None
    soft = both.size_bytes("soft", 0, 1)
    hard = both.size_bytes("hard", int(soft * HARD_PER_SOFT), 1)
    if not soft and not hard:
        both.problem('expected a size, as max_memory = "400MiB", or soft and hard')
    elif hard < soft:
        both.problem("expected at least what soft has", "hard")
    return soft, hard


def decode_warmup(table: Table) -> tuple[str, ...]:
    return _targets(table, "warmup", '["/"]', may_have_query=True)


def decode_health(table: Table) -> tuple[str, ...]:
    return _targets(table, "health", '["/healthz"]', may_have_query=False)


def _targets(table: Table, key: str, example: str, *, may_have_query: bool) -> tuple[str, ...]:
    found = []
    for index, text in table.texts(key, example) or ():
        path = text.partition("?")[0]
        if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text or "#" in text:
            table.problem(f'expected a path as it is asked for, as "/healthz", not {show(text)}', key, index)
        elif _NOT_CANONICAL.search(path):
            table.problem(
                f"expected a path without dot segments, backslashes, bad escapes, %2F and %00, not {show(text)}",
                key,
                index,
            )
        elif "?" in text and not may_have_query:
            table.problem("expected a path without a query", key, index)
        else:
            found.append(str(text))
    return tuple(found)


def decode_queue(table: Table) -> dict[str, Any]:
    queue = table.table("queue", ("size", "timeout"))
    if queue is None:
        return {}
    return {
        "queue_size": queue.integer("size", 200, 0, 1_000_000),
        "queue_timeout_s": queue.duration_s("timeout", 10.0),
    }
