"""From what a program says (an application, a folder, a file, a dict) to the checked config.

I/O: that of ``config.load``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyserve.config.load import from_tree, load, tree_for
from pyserve.config.model import Config

LiveApp = Callable[..., Any]
Listen = str | Sequence[str]

LIVE_NAME = "live"


def configure(
    app_or_path: str | os.PathLike[str] | LiveApp | None, listen: Listen | None, config: Mapping[str, Any] | None
) -> Config:
    """Return the checked config of what ``run`` and ``Server`` take. Raises ``ConfigError`` and ``ValueError``."""
    addresses = [listen] if isinstance(listen, str) else list(listen or ())
    if not callable(app_or_path) and app_or_path is not None:
        path = os.fspath(app_or_path)
        if path.endswith(".toml"):
            if config is not None:
                raise ValueError("give a .toml file or config=, not both")
            return _listening(load([path]), addresses)
        target = tree_for(path)
    elif callable(app_or_path):
        target = {
            # A name as any other, so that `config` can give it threads or a timeout; nothing is ever imported by it.
            "app": {LIVE_NAME: {"entry": "live:application", "threads": 4}},
            "site": {LIVE_NAME: {"default": True, "app": LIVE_NAME}},
        }
    elif config is None:
        raise ValueError("nothing to serve: give an application, a folder, a .toml file or config=")
    else:
        target = {}
    tree = _merged(target, config or {})
    if addresses:
        tree["server"] = {**tree.get("server", {}), "http": addresses}
    return from_tree(tree)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both trees as one; where both have a value, that of ``above``."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _listening(config: Config, addresses: list[str]) -> Config:
    if not addresses:
        return config
    site = {"any": {"default": True, "respond": {"status": 200}}}
    http = from_tree({"server": {"http": addresses}, "site": site}, name="listen").server.http
    return config._replace(server=config.server._replace(http=http))
