"""``pyserve stop``: ask a server to stop, and wait until it has.

I/O: the admin socket, stderr. The server closes the connection at its own end, after everything else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyserve.cli import admin, exit_codes
from pyserve.errors import NoServer


def stop(files: Sequence[str], admin_path: str | None) -> int:
    """Return 0 when the server is gone. Raises ``NoServer``."""
    with admin.find_server(files, admin_path) as connection:
        admin.send(connection, "stop")
        first = connection.recv(4096)
        # No answer at all is a server that was ending already.
        if first:
            admin.parse_answer(first)
            print("pyserve: stopping: running requests may end first", file=sys.stderr)
        try:
            admin.read_until_closed(connection)
        except KeyboardInterrupt:
            raise NoServer("no longer waiting; the server goes on stopping") from None
    print("pyserve: stopped", file=sys.stderr)
    return exit_codes.STOPPED
