"""What a check measured, the bar it is held to, and whether it holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: str
    bar: str = ""
    holds: bool | None = None
    """None: told for the reader, no bar."""


def number(value: float, unit: str = "") -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return f"{text} {unit}" if unit else text


def at_most(what: str, value: float, limit: float, unit: str = "") -> Figure:
    return Figure(what, number(value, unit), f"≤ {number(limit, unit)}", value <= limit)


def at_least(what: str, value: float, limit: float, unit: str = "") -> Figure:
    return Figure(what, number(value, unit), f"≥ {number(limit, unit)}", value >= limit)


def none_of(what: str, count: int, of: int, detail: str = "") -> Figure:
    """Return a count that has to be 0."""
    return Figure(what, f"{count:,} of {of:,}" + (f" ({detail})" if detail and count else ""), "0", count == 0)


def all_of(what: str, count: int, of: int, detail: str = "") -> Figure:
    """Return a count that has to be everything (and of nothing is not everything)."""
    value = f"{count:,} of {of:,}" + (f" ({detail})" if detail and count != of else "")
    return Figure(what, value, "all", count == of and of > 0)


def told(what: str, value: str) -> Figure:
    return Figure(what, value)
