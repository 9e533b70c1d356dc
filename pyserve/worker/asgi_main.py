"""An ASGI worker's loop: uvloop where the application's own environment has it, asyncio elsewhere.

I/O: makes and closes the event loop of this process. Only ASGI workers import this, and with it asyncio.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire import messages
from ..wire.frames import ASGI
from .asgi import AsgiRunner
from .lifespan import Lifespan

if TYPE_CHECKING:
    from .main import Worker


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def serve_asgi(worker: Worker, app: Callable[..., Any]) -> None:
    """Serve until ``stop``. Raises ``LoadError`` if the application's startup says that it failed."""
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(loop, worker, app))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        left = asyncio.all_tasks(loop)
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


async def _serve(loop: asyncio.AbstractEventLoop, worker: Worker, app: Callable[..., Any]) -> None:
    lifespan = Lifespan(app)
    await lifespan.startup()
    runner = AsgiRunner(loop, app, worker.scoreboard, worker.concurrency, lifespan.state)
    loop.add_signal_handler(signal.SIGTERM, runner.stop)
    worker.connect(runner, messages.pack_bytes(messages.BOOTED, bytes([ASGI])))
    await runner.wait_stopped()
    # The fronts see the end before a shutdown that may take long.
    await runner.close()
    await lifespan.shutdown()
    if lifespan.complaint:
        print(lifespan.complaint, file=sys.stderr)
