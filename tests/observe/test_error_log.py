"""The error log: one event is one line, whatever is in it, and a storm of one kind is a line a second."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pyserve.observe.error_log import ErrorLog


@pytest.fixture
def log() -> Iterator[tuple[ErrorLog, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield ErrorLog(writing, "info", "test"), reading
    os.close(reading)
    os.close(writing)


def lines(reading: int) -> list[str]:
    try:
        return os.read(reading, 1 << 20).decode().splitlines()
    except BlockingIOError:
        return []


def test_a_storm_of_one_kind_is_a_line_a_second_and_no_other_kind_is_lost(log: tuple[ErrorLog, int]) -> None:
    error_log, reading = log
    for _ in range(5000):
        error_log.seldom("info", 400, "refused")
    error_log.seldom("info", 414, "refused too")
    found = lines(reading)
    # However slow this machine is: 5,000 calls take no five seconds.
    assert 2 <= len(found) <= 6
    assert found[-1].endswith("refused too")


def test_what_was_not_said_is_counted(log: tuple[ErrorLog, int]) -> None:
    error_log, reading = log
    assert error_log.seldom("info", 400, "refused")
    assert not error_log.seldom("info", 400, "refused")
    error_log._seldom[400] = (0.0, 41)  # as if it were a second later
    error_log.seldom("info", 400, "refused")
    assert lines(reading)[-1].endswith("refused (and 41 more like it since the last such line)")


def test_below_the_level_nothing_is_said_or_counted(log: tuple[ErrorLog, int]) -> None:
    error_log, reading = log
    error_log.seldom("debug", 400, "refused")
    assert lines(reading) == []


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\rb", "a\u2028b", "a\u202eb", "a\x85b", "a\x00b", "a\ud800b"])
def test_a_terminal_obeys_nothing_in_a_line(log: tuple[ErrorLog, int], text: str) -> None:
    error_log, reading = log
    error_log.error(text)
    (line,) = lines(reading)
    assert line.isprintable()
    assert line.endswith("b")
