"""The values of a benchmark: settings, contenders, samples, bars, results. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.servers import Stack
from benchmarks.tools import Tools

Sample = dict[str, float]
"""One measurement of one contender: metric → value. The metrics and their units are in ``METRICS``."""

METRICS = {
    "requests_per_s": "req/s",
    "messages_per_s": "msg/s",
    "cpu_us": "CPU µs/req",
    "user_us": "user",
    "system_us": "system",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "p999_ms": "p99.9 ms",
    "max_ms": "max ms",
    "pss_mib": "PSS MiB",
    "worker_mib": "MiB/worker",
    "kib_per_connection": "KiB/conn",
    "start_s": "start s",
    "mib_per_s": "MiB/s",
    "slow_per_s": "slow req/s",
    "behind": "behind",
    "asked_per_s": "asked/s",
    "lag_ms": "lag ms",
    "log_bytes": "log B/req",
    "errors": "errors",
}


@dataclass(frozen=True, slots=True)
class Settings:
    tools: Tools
    folder: Path
    """An empty folder for configs, logs and files; each stack gets one of its own inside."""
    seconds: float
    rounds: int
    backend_logs: bool
    """Whether an application server behind nginx writes an access log of its own, too."""
    connections: int = 64


@dataclass(frozen=True, slots=True)
class Contender:
    """A stack that can be started, or why it can't."""

    name: str
    build: Callable[[Path], Stack] | None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the speed table: a metric of ``subject``, in relation to that of ``against`` or by itself ("")."""

    what: str
    metric: str
    limit: float
    goal: float
    against: str = ""
    subject: str = "pyserve"
    at_least: bool = False
    unit: str = "x"


@dataclass(slots=True)
class Result:
    name: str
    question: str
    bars: tuple[Bar, ...]
    stacks: list[Stack] = field(default_factory=list)
    rounds: dict[str, list[Sample]] = field(default_factory=dict)
    """Contender → its samples, one per round, in the order of the rounds."""
    missing: dict[str, str] = field(default_factory=dict)
    """Contender → why it was not measured."""
    notes: list[str] = field(default_factory=list)

    def median_of(self, name: str, metric: str) -> float | None:
        values = [sample[metric] for sample in self.rounds.get(name, ()) if metric in sample]
        return median(values) if values else None

    def value_of(self, bar: Bar) -> float | None:
        """Return the median over the rounds of the bar's ratio (neighbours in time compared), None if not measured."""
        values = self.values_of(bar)
        return median(values) if values else None

    def values_of(self, bar: Bar) -> list[float]:
        """Return what each round by itself says of the bar."""
        if not bar.against:
            return [sample[bar.metric] for sample in self.rounds.get(bar.subject, ()) if bar.metric in sample]
        pairs = zip(self.rounds.get(bar.subject, ()), self.rounds.get(bar.against, ()), strict=False)
        return [a[bar.metric] / b[bar.metric] for a, b in pairs if a.get(bar.metric) and b.get(bar.metric)]


def is_met(bar: Bar, value: float) -> bool:
    return value >= bar.limit if bar.at_least else value <= bar.limit
