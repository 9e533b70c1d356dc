"""Step 5: an ASGI stream whose application waits for something: a piece of a body, a message, credit, or the end.

I/O: none but futures of the runner's loop. Whoever waits looks again each time anything has happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .channel import Stream

if TYPE_CHECKING:
    from .asgi import AsgiRunner


class WaitingStream(Stream):
    """Base of ``AsgiStream`` and ``AsgiWebSocket``; they set ``_runner`` and ``_waiters`` (None) themselves."""

    __slots__ = ("_runner", "_waiters")

    _runner: AsgiRunner
    _waiters: list[asyncio.Future[None]] | None

    async def _wait(self) -> None:
        waiter = self._runner.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            # Cancelled: who looks for its client once a second, for days, must not leave a waiter behind each time.
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def wake(self) -> None:
        """Let every waiter look again."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
