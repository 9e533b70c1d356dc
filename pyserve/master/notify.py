"""Telling systemd (``Type=notify``) that the server is ready or stopping.

I/O: one datagram to ``$NOTIFY_SOCKET``; nothing where there is none. Protocol: sd_notify(3).
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send ``READY=1`` or the like; a manager that does not listen is no reason to fail."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or path[0] not in "/@":
        return
    if path[0] == "@":
        path = "\0" + path[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(state.encode(), path)
        except OSError:
            pass
