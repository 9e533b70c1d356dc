"""The ledger of the normal load: one entry per request, and what it says as a whole. Pure but for reading the file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.reliability.figures import Figure, none_of

# Below this the scheduler of a shared machine decides, not the server: a ratio of two such figures says nothing.
FLOOR_MS = 5.0


class Entry(NamedTuple):
    number: int
    kind: str
    begun_s: float
    """When it was due, on the monotonic clock. Latency counts from there, so that a late client hides nothing."""
    latency_s: float
    lag_s: float
    """How late the client itself was: its own share of the latency."""
    cause: str
    """"" for a right answer."""


def write(path: Path, entries: list[Entry]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)


def read(path: Path) -> list[Entry]:
    with path.open() as file:
        return [Entry(*json.loads(line)) for line in file]


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    total: int
    failed: int
    causes: Counter[str]
    p50_ms: float
    p99_ms: float
    lag_p99_ms: float
    seconds: float
    slowest_kind: str
    """The kind with the worst p99, and that."""

    @property
    def rate(self) -> float:
        return self.total / self.seconds if self.seconds else 0.0

    def main_causes(self) -> str:
        return ", ".join(f"{count} x {cause}" for cause, count in self.causes.most_common(4))


def summarise(entries: list[Entry]) -> Summary:
    right = sorted(entry.latency_s * 1000 for entry in entries if not entry.cause)
    causes = Counter(f"{entry.kind} {entry.cause}" for entry in entries if entry.cause)
    lags = sorted(entry.lag_s * 1000 for entry in entries)
    begun = [entry.begun_s for entry in entries]
    return Summary(
        len(entries),
        len(entries) - len(right),
        causes,
        percentile(right, 0.50),
        percentile(right, 0.99),
        percentile(lags, 0.99),
        max(begun) - min(begun) if begun else 0.0,
        _slowest_kind(entries),
    )


def _slowest_kind(entries: list[Entry]) -> str:
    kinds: dict[str, list[float]] = {}
    for entry in entries:
        if not entry.cause:
            kinds.setdefault(entry.kind, []).append(entry.latency_s * 1000)
    worst = {kind: percentile(sorted(latencies), 0.99) for kind, latencies in kinds.items()}
    return max(
        (f"{kind} {p99:.1f}" for kind, p99 in worst.items()), key=lambda text: float(text.split()[-1]), default="-"
    )


def compare(base: Summary, beside: Summary, p99_times: float | None = None) -> list[Figure]:
    """Return the two rows about the normal load that every check has. ``p99_times``: of base, None = told only."""
    failed = none_of("normal: failed requests", beside.failed, beside.total, beside.main_causes())
    value = (
        f"{beside.p50_ms:.1f} / {beside.p99_ms:.1f} ms (base {base.p50_ms:.1f} / {base.p99_ms:.1f}; "
        f"client's own lag p99 {beside.lag_p99_ms:.1f}; slowest: {beside.slowest_kind})"
    )
    if p99_times is None:
        return [failed, Figure("normal: p50 / p99", value)]
    limit = max(base.p99_ms * p99_times, FLOOR_MS)
    bar = f"p99 ≤ {p99_times:g} x base = {limit:.1f} ms"
    return [failed, Figure("normal: p50 / p99", value, bar, beside.p99_ms <= limit and beside.total > 0)]
