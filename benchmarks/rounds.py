"""Take turns: A B C, C B A, ... so that what the machine does meanwhile hits all contenders alike.

Backwards every other time, so that a machine that gets slower (or faster) all the while does so for everybody.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.answers import WrongAnswer
from benchmarks.load import LoadError, Requests, Wrk
from benchmarks.scenario import Bar, Contender, Result, Sample, Settings
from benchmarks.servers import Running, Stack, StackError

WARM_UP_S = 1


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run_rounds(
    settings: Settings,
    name: str,
    question: str,
    contenders: Iterable[Contender],
    bars: tuple[Bar, ...],
    once: Callable[[Running], Sample],
    requests: Requests,
    warm_up_connections: int = 0,
    prepare: Callable[[Running], Requests] | None = None,
) -> Result:
    """Start all contenders, warm them up, and call ``once`` for each in each round.

    ``prepare`` looks whether a server that is ready gives what is to be measured, and returns what to warm it up with;
    it raises ``WrongAnswer`` if not.
    """
    result = Result(name, question, bars)
    with contextlib.ExitStack() as cleanup:
        started: list[Running] = []
        for stack in _build(result, settings, contenders):
            running = Running(stack)
            try:
                running.start()
                cleanup.callback(_stop, result, running)
                running.wait_ready(requests.first_path)
                asked = prepare(running) if prepare else requests
                Wrk(running, settings, asked, WARM_UP_S, warm_up_connections).wait()
            except WrongAnswer as error:
                _give_up(result, running, f"does not serve this: {error}")
                continue
            except (StackError, LoadError, OSError) as error:
                _give_up(result, running, f"did not start: {error}")
                continue
            started.append(running)
        for number in range(settings.rounds):
            for running in started[:] if number % 2 == 0 else started[::-1]:
                if not _take(result, running, number, settings.rounds, once):
                    started.remove(running)
    return result


def run_fresh_rounds(
    settings: Settings,
    name: str,
    question: str,
    contenders: Iterable[Contender],
    bars: tuple[Bar, ...],
    once: Callable[[Running], Sample],
) -> Result:
    """The same, but a contender is started by ``once`` and ended after it, each time."""
    result = Result(name, question, bars)
    stacks = list(_build(result, settings, contenders))
    for number in range(settings.rounds):
        for stack in list(stacks):
            running = Running(stack)
            try:
                if not _take(result, running, number, settings.rounds, once):
                    stacks.remove(stack)
            finally:
                _stop(result, running)
    return result


def _build(result: Result, settings: Settings, contenders: Iterable[Contender]) -> Iterable[Stack]:
    for contender in contenders:
        if contender.build is None:
            result.missing[contender.name] = contender.missing
            continue
        folder: Path = settings.folder / re.sub(r"\W+", "-", f"{result.name}-{contender.name}")
        folder.mkdir()
        stack = contender.build(folder)
        result.stacks.append(stack)
        yield stack


def _take(result: Result, running: Running, number: int, count: int, once: Callable[[Running], Sample]) -> bool:
    try:
        sample = once(running)
    except (StackError, LoadError, OSError) as error:
        _give_up(result, running, f"failed in round {number + 1}: {error}\n{running.tail()}")
        return False
    result.rounds.setdefault(running.name, []).append(sample)
    figures = ", ".join(f"{metric} {value:,.4g}" for metric, value in sample.items())
    say(f"{result.name}: round {number + 1}/{count}: {running.name}: {figures}")
    return True


def _give_up(result: Result, running: Running, reason: str) -> None:
    say(f"{result.name}: {running.name} {reason}")
    result.missing[running.name] = reason


def _stop(result: Result, running: Running) -> None:
    left = running.stop()
    if left:
        result.notes.append(f"{running.name} left {len(left)} process(es) behind when told to stop; they were killed.")
