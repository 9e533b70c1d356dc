"""What the questions about files have in common: pyserve beside nginx, equal answers first, one bar on CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Contender, Result, Sample, Settings
from benchmarks.servers import Running


@dataclass(frozen=True, slots=True)
class Case:
    """One row: ``prepare`` checks a server's answers (``answers.check_answer``) and returns what to ask it for."""

    name: str
    question: str
    path: str
    """Answered 200 by a server that is ready."""
    prepare: Callable[[Running], Requests]
    limit: float
    """CPU per request of pyserve, in those of nginx."""
    goal: float
    connections: int = 0
    """0 = as many as everywhere."""
    body_bytes: int = 0
    """Requests are counted by bytes of this many (see ``load.sample_load``); 0 = by answers."""
    rounds_times: int = 1
    """So many times the rounds, where figures jump."""


def run_case(settings: Settings, case: Case, contenders: Sequence[Contender]) -> Result:
    asked: dict[str, Requests] = {}

    def prepare(running: Running) -> Requests:
        asked[running.name] = case.prepare(running)
        return asked[running.name]

    def once(running: Running) -> Sample:
        return sample_load(running, settings, asked[running.name], case.connections, case.body_bytes)

    return run_rounds(
        dataclasses.replace(settings, rounds=settings.rounds * case.rounds_times),
        case.name,
        f"{case.question}, {case.connections or settings.connections} connections",
        contenders,
        (Bar("CPU per request against nginx", "cpu_us", case.limit, case.goal, against="nginx"),),
        once,
        Requests(case.path),
        case.connections,
        prepare,
    )
