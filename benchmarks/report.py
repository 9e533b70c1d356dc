"""Print results as text, and as JSON for those who compare runs. Pure, but for ``describe_machine``."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterable
from dataclasses import asdict

from benchmarks.scenario import METRICS, Bar, Result, is_met
from benchmarks.tools import HOW_TO_GET, Tools


def describe_machine(tools: Tools) -> dict[str, str]:
    found = {name: tools.version(name) or f"not installed: {how}" for name, how in HOW_TO_GET.items()}
    return {
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        **found,
    }


def text_of(result: Result) -> str:
    """Return the table, the bars, what is missing and the exact commands of one result."""
    parts = [f"\n== {result.name}: {result.question}", _table(result)]
    parts += [f"  bar   {_verdict(result, bar)}" for bar in result.bars]
    for name, reason in result.missing.items():
        indented = reason.strip().replace("\n", "\n      ")
        parts.append(f"  {name}: not measured: {indented}")
    parts += [f"  note  {note}" for note in result.notes]
    if any(sample.get("errors") for samples in result.rounds.values() for sample in samples):
        parts.append("  note  There were errors: the figures of that server count requests that failed.")
    return "\n".join(part for part in parts if part)


def commands_of(results: Iterable[Result]) -> str:
    """Return the commands and configurations of all stacks, each once."""
    parts = ["\n== Commands and configurations"]
    seen = set()
    for result in results:
        for stack in result.stacks:
            commands = [shlex.join(program.argv) for program in stack.programs]
            short = str(stack.folder)
            texts = [f"{name}:\n{_first_lines(text)}" for name, text in stack.configs.items()]
            part = "\n".join(["$ " + command for command in commands] + texts).replace(short, "FOLDER")
            part = part.replace(str(stack.port), "PORT")
            if (stack.name, part) not in seen:
                seen.add((stack.name, part))
                parts.append(f"\n-- {stack.name} ({result.name})\n{part}")
    return "\n".join(parts)


def summary_of(results: Iterable[Result]) -> str:
    """Return all bars of all results, one line each."""
    lines = ["\n== Against the bars (median over the rounds; neighbours in time are compared)"]
    lines += [f"  {result.name:<22} {_verdict(result, bar)}" for result in results for bar in result.bars]
    return "\n".join(lines)


def json_of(results: Iterable[Result], machine: dict[str, str]) -> dict[str, object]:
    return {
        "machine": machine,
        "results": [
            {
                "name": result.name,
                "question": result.question,
                "rounds": result.rounds,
                "missing": result.missing,
                "notes": result.notes,
                "bars": [asdict(bar) | _judged(result, bar) for bar in result.bars],
                "stacks": [
                    {
                        "name": stack.name,
                        "commands": [list(program.argv) for program in stack.programs],
                        "configs": {name: _first_lines(text) for name, text in stack.configs.items()},
                    }
                    for stack in result.stacks
                ],
            }
            for result in results
        ],
    }


def _judged(result: Result, bar: Bar) -> dict[str, object]:
    value = result.value_of(bar)
    return {"value": value, "met": None if value is None else is_met(bar, value)}


def _verdict(result: Result, bar: Bar) -> str:
    value = result.value_of(bar)
    sign = ">=" if bar.at_least else "<="
    aim = f"bar {sign} {bar.limit:g} {bar.unit}, goal {bar.goal:g} {bar.unit}"
    if value is None:
        return f"NOT MEASURED   {bar.what} ({aim})"
    word = "met    " if is_met(bar, value) else "NOT MET"
    values = result.values_of(bar)
    return f"{word} {value:7.3g} {bar.unit:<3} {bar.what} ({aim}; rounds {min(values):.3g} to {max(values):.3g})"


def _table(result: Result) -> str:
    columns = [metric for metric in METRICS if any(metric in sample for s in result.rounds.values() for sample in s)]
    if not columns:
        return ""
    rows = [["", *(METRICS[metric] for metric in columns)]]
    for name in result.rounds:
        values = [result.median_of(name, metric) for metric in columns]
        rows.append([name, *("-" if value is None else _number(value) for value in values)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def _first_lines(text: str, limit: int = 60) -> str:
    """A configuration of a thousand sites is made by a loop: its beginning shows enough."""
    lines = text.splitlines()
    return "\n".join(lines[:limit] + ([f"... {len(lines) - limit:,} more lines"] if len(lines) > limit else []))
