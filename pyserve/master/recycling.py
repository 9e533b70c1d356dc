"""The recycling policy: is a worker to be replaced although it works?

Pure: figures in, a reason out. Each worker has limits of its own, a little below those of the application, so that
workers which started together do not go together.
"""

from __future__ import annotations

from typing import NamedTuple

from pyserve.config.model import Recycling

JITTER = 0.1
"""The part of a limit that a worker's own may be below it."""


class Due(NamedTuple):
    """Why a worker is to go. ``kind`` is the key of the configuration, for figures; ``words`` are for the log."""

    kind: str
    words: str
    is_urgent: bool = False
    """It gets no more requests, also while its successor is not ready."""
    is_fatal: bool = False
    """It is killed."""


def limits_of_one(limits: Recycling, chance: float) -> Recycling:
    """Return the limits of one worker; ``chance`` from 0 to 1."""
    part = 1.0 - JITTER * chance
    requests = limits.max_requests and max(1, round(limits.max_requests * part))
    return limits._replace(max_requests=requests, max_age_s=limits.max_age_s * part)


def due(limits: Recycling, served: int, age_s: float, memory_bytes: int) -> Due | None:
    """Return why a worker has to go, None = it may stay."""
    soft, hard = limits.soft_memory_bytes, limits.hard_memory_bytes
    if hard and memory_bytes >= hard:
        words = f"{_mebibytes(memory_bytes)} of private memory, at most {_mebibytes(hard)} (max_memory)"
        return Due("max_memory", words, is_fatal=True)
    if soft and memory_bytes >= soft:
        words = f"{_mebibytes(memory_bytes)} of private memory, replaced from {_mebibytes(soft)} on (max_memory)"
        # Half way to the hard limit it is still early enough to finish what runs, and it grows with each request.
        return Due("max_memory", words, is_urgent=memory_bytes >= (soft + hard) / 2)
    if limits.max_requests and served >= limits.max_requests:
        return Due("max_requests", f"{served:,} requests (max_requests)")
    if limits.max_age_s and age_s >= limits.max_age_s:
        return Due("max_age", f"{age_s:,.0f} s old (max_age)")
    return None


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"
