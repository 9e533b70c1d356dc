"""The Python API: ``run`` and ``Server``. A composition root beside ``cli``; loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserve.embed.run import run

if TYPE_CHECKING:
    from pyserve.embed.server import Server

__all__ = ["Server", "run"]


def __getattr__(name: str) -> Any:
    # `run` becomes the master, which has no use for an event loop and a front.
    if name == "Server":
        from pyserve.embed.server import Server

        return Server
    raise AttributeError(f"module 'pyserve.embed' has no attribute {name!r}")
