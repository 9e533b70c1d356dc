"""The ASGI lifespan: startup before the first request, shutdown after the last (ASGI lifespan spec 2.0).

I/O: a line to stderr (``tell``); runs the application's lifespan call as a task of the loop. An application that does
not know the lifespan scope (it raises) is run without; if it had asked for its startup before, that is worth a line.
One that says ``startup.failed``, or wants to exit, can't be used: ``LoadError`` with its message.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from .loader import LoadError, text_of


class Lifespan:
    """``state`` is what the application left for its requests."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._is_supported = False
        self._failure: str | None = None
        self.complaint = ""
        """What went wrong and ends nothing, for the log."""

    async def startup(self) -> None:
        """Return when the application is ready; raise ``LoadError`` if it says that it never will be."""
        self._incoming.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._started.wait()
        if self._failure is not None:
            # The application may still tidy up; its own end is not waited for longer than a moment.
            await asyncio.wait([self._task], timeout=1.0)
            raise LoadError(self._failure)

    async def shutdown(self) -> None:
        """Tell the application and wait until it is done; without limit, whoever stops this process has one."""
        if self._task is None or self._task.done() or not self._is_supported:
            return
        self._incoming.put_nowait({"type": "lifespan.shutdown"})
        await self._stopped.wait()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._incoming.get, self._send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # Before startup.complete this is how an application says that it does not know the scope.
            if self._is_supported:
                self.complaint = self.complaint or "lifespan: " + text_of(error)
            elif self._failure is None and isinstance(error, (SystemExit, KeyboardInterrupt)):
                self._failure = "lifespan startup: " + text_of(error)
            elif self._failure is None and self._incoming.empty():
                self.complaint = "the application runs without lifespan, which has failed: " + text_of(error)
        finally:
            self._started.set()
            self._stopped.set()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._is_supported = True
            self._started.set()
        elif kind == "lifespan.startup.failed":
            self._failure = "lifespan startup failed: " + (
                message.get("message", "") or "the application gave no reason"
            )
            self._started.set()
        elif kind == "lifespan.shutdown.complete":
            self._stopped.set()
        elif kind == "lifespan.shutdown.failed":
            self.complaint = "lifespan shutdown failed: " + message.get("message", "")
            self._stopped.set()
        else:
            raise RuntimeError(f"unexpected ASGI lifespan message {kind!r}")


def tell(lifespan: Lifespan) -> None:
    """Write down what the application complains of, once."""
    complaint, lifespan.complaint = lifespan.complaint, ""
    if complaint:
        print(complaint, file=sys.stderr)
