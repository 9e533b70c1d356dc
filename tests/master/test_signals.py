"""Signals of this process: which of those that came are read, however many came before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from pyserve.master.signals import HANDLED, Signals


@pytest.fixture
def handlers() -> Iterator[dict[int, object]]:
    """What was installed before, and put back in the end."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield before  # type: ignore[misc]
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_is_not_lost_behind_a_thousand_others(handlers: dict[int, object]) -> None:
    signals = Signals()
    try:
        for _ in range(1000):
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert signals.take() == [signal.SIGUSR1, signal.SIGCHLD]
        assert signals.take() == []
    finally:
        signals.close()
    assert {number: signal.getsignal(number) for number in HANDLED} == handlers


def test_in_a_process_that_ends_late_signals_are_ignored(handlers: dict[int, object]) -> None:
    Signals().close(process_ends=True)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
