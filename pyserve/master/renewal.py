"""A renewal: the workers of an application make way for others that import it again.

I/O: none. New before old: one worker is started and proved first; where it can't be, everything stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Outcome = Literal["renewed", "kept", "nothing serves", "overtaken"]
"""New code runs · it does not start, and the old goes on · it does not start, and there is no old one · another renewal
came before it was known, or the end."""

WHY = "there is new code"
"""What is said of a worker that makes way."""


class Renewal(NamedTuple):
    begun_at: float
    at_once: bool
    """All old workers stop taking requests when the first new one does; otherwise each one when its successor does."""
    tell: Callable[[Outcome], None]
    """Called once."""
