"""Wait for a condition with a deadline. The one place where tests poll: no test sleeps to synchronise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_until(condition: Callable[[], Result], what: str, timeout_s: float = 10.0) -> Result:
    """Return the first true result of ``condition``; fail the test when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what} (last: {result!r})")
        time.sleep(0.01)
