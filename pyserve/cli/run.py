"""``pyserve run``: read the configuration, then become the master.

I/O: reads files; from ``master.main.run`` on this process is the master.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pyserve.cli.arguments import DEFAULT_FILE, UsageError
from pyserve.config.load import from_tree, load, tree_for
from pyserve.config.model import Config


def run(
    files: Sequence[str],
    target: str | None,
    listen: Sequence[str],
    workers: int | None,
    reload_patterns: Sequence[str] | None = None,
) -> int:
    """Serve until stopped. ``reload_patterns``: files whose change means new code; None = no reload.

    Raises ``UsageError``, ``ConfigError`` or ``CannotStart``.
    """
    if target is not None:
        config = _of_target(target, listen, workers)
    elif files or os.path.exists(DEFAULT_FILE):
        config = load(files or [DEFAULT_FILE])
    else:
        raise UsageError(
            f"there is no ./{DEFAULT_FILE}; write one of\n"
            "  pyserve run -c FILE\n"
            "  pyserve run module:attribute\n"
            "  pyserve run ./folder\n"
            "more: pyserve --help"
        )
    for problem in config.surroundings:
        print(f"{problem} (starting without it)", file=sys.stderr)
    if reload_patterns is None:
        return _serve(config)
    if not config.apps:
        raise UsageError("--reload goes with applications; changes of files are seen without it")
    from pyserve.cli import watch

    watch_fd = watch.start(config, reload_patterns)
    try:
        return _serve(config)
    finally:
        os.close(watch_fd)  # its end


def _serve(config: Config) -> int:
    from pyserve.master.main import run as run_master

    return run_master(config, process_ends=True)


def _of_target(target: str, listen: Sequence[str], workers: int | None) -> Config:
    if workers is not None and os.path.isdir(target):
        raise UsageError("--workers goes with module:attribute; a folder of files needs none")
    try:
        tree = tree_for(target, listen, workers)
    except ValueError as error:
        raise UsageError(str(error)) from None
    config = from_tree(tree, name="command line")
    if listen:
        # Without a file to name, and on another port than the default, nobody could guess where its socket is.
        print(f"pyserve: for status and stop: --admin {config.server.admin}", file=sys.stderr)
    return config
