"""``pyserve.run``: the same as the command line's, from Python.

I/O: reads configuration; then this process is the master, or, for a live callable, the front.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from pyserve.embed.configure import Listen, LiveApp, configure


def run(
    app_or_path: str | os.PathLike[str] | LiveApp | None = None,
    *,
    listen: Listen | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Serve until TERM or INT, as the command line does. For the main thread of a process that does nothing else.

    ``app_or_path``: ``"module:attribute"``, a folder of files, a ``.toml`` file, or a live callable, which runs in
    this process. ``listen`` is ``[server] http``; ``config`` is the tree of a file as a dict. Raises ``ConfigError``
    or ``CannotStart``.
    """
    if callable(app_or_path):
        import asyncio

        with asyncio.Runner() as runner:
            runner.run(_run_live(app_or_path, listen, config))
        return
    from pyserve.master.main import run as run_master

    checked = configure(app_or_path, listen, config)
    for problem in checked.surroundings:
        print(f"{problem} (starting without it)", file=sys.stderr)
    run_master(checked)


async def _run_live(app: LiveApp, listen: Listen | None, config: Mapping[str, Any] | None) -> None:
    import asyncio

    from pyserve.embed.server import Server

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Server(app, listen=listen, config=config) as server:
        print(f"pyserve: ready: {', '.join(map(_words, server.addresses))} (in this process)", file=sys.stderr)
        await stop.wait()


def _words(address: tuple[str, int] | str) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
