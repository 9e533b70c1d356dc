"""How the benchmarks judge: ratios of neighbours in time, medians, and what is said when something is missing."""

from __future__ import annotations

import json

import pytest

from benchmarks.cpu import Process, tree_of
from benchmarks.report import json_of, summary_of, text_of
from benchmarks.scenario import Bar, Result, is_met

CPU = Bar("CPU per request against nginx", "cpu_us", 1.1, 0.85, against="nginx")
SPEED = Bar("requests/s against uvicorn", "requests_per_s", 1.0, 1.4, against="uvicorn", at_least=True)
START = Bar("start", "start_s", 0.6, 0.3, unit="s")


def result_of(bar: Bar, **rounds: list[float]) -> Result:
    samples = {name: [{bar.metric: value} for value in values] for name, values in rounds.items()}
    return Result("trial", "what is it?", (bar,), rounds=samples)


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() -> None:
    # The machine got twice as slow after the first round: each round for itself says 1.0.
    result = result_of(CPU, pyserve=[10, 20, 20], nginx=[10, 20, 20])
    assert result.value_of(CPU) == 1.0
    result = result_of(CPU, pyserve=[10, 40, 30], nginx=[10, 20, 20])
    assert result.value_of(CPU) == 1.5


@pytest.mark.parametrize(
    ("bar", "value", "met"), [(CPU, 1.1, True), (CPU, 1.11, False), (SPEED, 1.0, True), (SPEED, 0.99, False)]
)
def test_a_bar_is_met_up_to_its_limit(bar: Bar, value: float, met: bool) -> None:
    assert is_met(bar, value) is met


def test_an_absolute_bar_needs_no_peer() -> None:
    result = result_of(START, pyserve=[0.5, 0.9, 0.4])
    assert result.value_of(START) == 0.5
    assert "met         0.5 s" in summary_of([result])


def test_a_missing_peer_is_named_and_its_bar_is_not_measured() -> None:
    result = result_of(CPU, pyserve=[10])
    result.missing["nginx"] = "nginx is not installed: apt-get install nginx-light"
    assert result.value_of(CPU) is None
    text = text_of(result)
    assert "nginx: not measured: nginx is not installed" in text
    assert "NOT MEASURED" in text


def test_what_is_written_as_json_has_the_verdict() -> None:
    written = json.loads(json.dumps(json_of([result_of(CPU, pyserve=[30], nginx=[20])], {})))
    assert written["results"][0]["bars"][0]["value"] == 1.5
    assert written["results"][0]["bars"][0]["met"] is False


def test_a_tree_has_all_descendants_and_nobody_else() -> None:
    processes = {pid: Process(parent, 0) for pid, parent in [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1)]}
    assert sorted(tree_of([5], processes)) == [5, 6, 7]
    assert tree_of([99], processes) == []


def test_the_spread_over_the_rounds_is_told() -> None:
    result = result_of(CPU, pyserve=[10, 40, 30], nginx=[10, 20, 20])
    assert "rounds 1 to 2)" in summary_of([result])
