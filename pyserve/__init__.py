"""pyserve: a web server and a Python application server in one program.

The folders are the path of a request:

    step 1, 2  packet, operating system   ``net``       the master binds, the front accepts
    step 3     the front reads            ``front``     event loop, connections, deadlines, back-pressure
    step 4     parse and route            ``http``      bytes to a checked request
                                          ``routing``   host to site, path to route, route to handler
                                          ``handlers``  files, redirects and answers end here
                                          ``files``     from a path below a folder to bytes that are ready
    step 5     a worker runs the app      ``balance``   which worker, or how long to wait
                                          ``wire``      request and answer as frames over a socketpair
                                          ``worker``    the WSGI or ASGI call, in the application's own interpreter
    step 6     the answer goes back       ``front``     the only one that writes to a client; log line, counters

Around it: ``config`` (site.toml to frozen values), ``master`` (binds, starts, heals, drains), ``observe`` (logs,
status), ``cli`` and ``embed`` (put it all together).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserve.embed import Server, run

__version__ = "0.1.0"
__all__ = ["Server", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: every process of the server imports this package, few of them embed it.
    if name in ("Server", "run"):
        from pyserve import embed

        return getattr(embed, name)
    raise AttributeError(f"module 'pyserve' has no attribute {name!r}")
