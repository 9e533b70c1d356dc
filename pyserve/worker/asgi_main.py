"""An ASGI worker's loop: uvloop where the application's own environment has it, asyncio elsewhere.

I/O: makes and closes the event loop of this process. Only ASGI workers import this, and with it asyncio.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire import messages
from ..wire.frames import ASGI
from .asgi import AsgiRunner
from .lifespan import Lifespan, tell

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
        _run(loop, loop.create_task(_serve(loop, worker, app)))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        left = asyncio.all_tasks(loop)
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, serving: asyncio.Task[None]) -> None:
    """Run until ``serving`` is done, whatever the application's tasks and callbacks do to the loop.

    A loop lets SystemExit and KeyboardInterrupt of any task out of ``run_forever`` and can then go on where it was;
    whoever awaits that task gets the exception too, so a request still fails with it. Ending the process would take
    all other requests along.
    """
    serving.add_done_callback(lambda _: loop.stop())
    while not serving.done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            where = ""
            if error.__traceback__ is not None:
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f" at {last.filename}:{last.lineno}"
            print(f"{type(error).__name__} in a task or callback{where}: the worker goes on", file=sys.stderr)
    serving.result()


async def _serve(loop: asyncio.AbstractEventLoop, worker: Worker, app: Callable[..., Any]) -> None:
    lifespan = Lifespan(app)
    await lifespan.startup()
    tell(lifespan)
    runner = AsgiRunner(loop, app, worker.scoreboard, worker.concurrency, lifespan.state, worker.websockets)
    loop.add_signal_handler(signal.SIGTERM, runner.stop)
    worker.connect(runner, messages.pack_bytes(messages.BOOTED, bytes([ASGI])))
    await runner.wait_stopped()
    # The fronts see the end before a shutdown that may take long.
    await runner.close()
    await lifespan.shutdown()
    tell(lifespan)
