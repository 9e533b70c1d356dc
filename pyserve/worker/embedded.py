"""A worker inside a caller's own process, for ``pyserve.Server(live_callable)``: ASGI on its loop, WSGI in threads.

I/O: starts threads and tasks, closes what it started. Never forks, exits, waits for a child or touches a signal. The
front is the same one as always, at the other ends of ``data`` and ``control``.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..wire.frames import ASGI
from ..wire.scoreboard import Scoreboard
from .asgi import AsgiRunner
from .lifespan import Lifespan, tell
from .loader import find_interface
from .watcher import Watcher
from .wsgi_inline import InlineRunner
from .wsgi_runner import WsgiRunner
from .wsgi_threads import ThreadedRunner


class EmbeddedWorker:
    """``type``: "wsgi", "asgi" or "auto". Takes over ``data`` and ``control``; ``scoreboard`` may be any writable
    page.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        scoreboard: Scoreboard,
        data: socket.socket,
        control: socket.socket,
        *,
        type: str = "auto",
        threads: int = 4,
        concurrency: int = 100,
        websockets: int = 1000,
    ) -> None:
        self.interface = find_interface(app, type, repr(app))
        self._app = app
        self._scoreboard = scoreboard
        self._data = data
        self._control = control
        self._threads = threads
        self._concurrency = concurrency
        self._websockets = websockets
        self._lifespan: Lifespan | None = None
        self._runner: AsgiRunner | WsgiRunner
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Return when HELLO is on its way. Raises ``LoadError`` if the application's startup failed."""
        if self.interface == ASGI:
            self._lifespan = Lifespan(self._app)
            await self._lifespan.startup()
            tell(self._lifespan)
            loop = asyncio.get_running_loop()
            self._runner = AsgiRunner(
                loop, self._app, self._scoreboard, self._concurrency, self._lifespan.state, self._websockets
            )
        else:
            kind = ThreadedRunner if self._threads > 1 else InlineRunner
            self._runner = kind(self._app, self._scoreboard, self._threads, is_multiprocess=False)
            self._thread = threading.Thread(target=self._runner.serve, name="pyserve-wsgi", daemon=True)
        self._watcher = Watcher(self._runner, None, 0.0, None)
        self._watcher.add(self._runner.add_channel(0, self._data, self._control))
        self._watcher.start()
        if self._thread is not None:
            self._thread.start()

    async def close(self) -> None:
        """Finish what runs, tell the application, and close everything. Waits as long as the application does."""
        self._runner.stop()
        if isinstance(self._runner, AsgiRunner):
            await self._runner.wait_stopped()
            await self._runner.close()
        else:
            assert self._thread is not None
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            self._runner.close()
        self._watcher.stop()
        if self._lifespan is not None:
            await self._lifespan.shutdown()
            tell(self._lifespan)
